"""CLIPScore alone: the paper's ablation without SSIM."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.strategy import Strategy

STRATEGY = Strategy(
    name="clip-only", merit=lambda _scores, _selection, _seed: pl.col("clip_score"), in_words=lambda _: "CLIPScore"
)
