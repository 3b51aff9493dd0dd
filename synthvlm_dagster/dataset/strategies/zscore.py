"""The paper's score of both terms standardised over the scored images."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.strategies.paper import papers_words
from synthvlm_dagster.dataset.strategy import Strategy
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.merit import standard_deviations, standardised


def _merit(scores: pl.LazyFrame, selection: Selection, _seed: int) -> pl.Expr:
    weights = standardised(standard_deviations(scores), selection.ssim_weight)
    return weights.clip_score * pl.col("clip_score") + weights.ssim * pl.col("ssim")


STRATEGY = Strategy(
    name="zscore",
    merit=_merit,
    in_words=lambda selection: f"{papers_words(selection)}, both standardised over the scored images",
    weighs_ssim=True,
    standardises=True,
)
