"""CLIPScore + λ·SSIM (SynthVLM §3.3)."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.strategy import Strategy
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.merit import weighted_score


def papers_merit(_scores: pl.LazyFrame, selection: Selection, _seed: int) -> pl.Expr:
    """The weighted score."""
    return weighted_score(selection.ssim_weight)


def papers_words(selection: Selection) -> str:
    """The formula with its weight."""
    return f"CLIPScore + {selection.ssim_weight:g} · SSIM"


STRATEGY = Strategy(name="paper", merit=papers_merit, in_words=papers_words, weighs_ssim=True)
