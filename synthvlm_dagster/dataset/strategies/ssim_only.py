"""SSIM alone: the paper's ablation without CLIPScore."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.strategy import Strategy

STRATEGY = Strategy(
    name="ssim-only", merit=lambda _scores, _selection, _seed: pl.col("ssim"), in_words=lambda _: "SSIM"
)
