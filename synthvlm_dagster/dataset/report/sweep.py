"""The selection over λ, for the report."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.lambda_sweep import lambda_sweep
from synthvlm_dagster.dataset.strategies import strategy_of
from synthvlm_dagster.recipe import Recipe


def gather_sweep(recipe: Recipe, scored: pl.LazyFrame) -> pl.DataFrame | None:
    """What the selection would be at other weights of SSIM, as `lambda_sweep` says it.

    Args:
        recipe: names the selection.
        scored: as `scored_pairs` gives it.

    Returns:
        None when nothing is scored, or the selection's strategy has no weight.

    Raises:
        SelectionError: the selection asks for more pairs than there are captions.
    """
    if not strategy_of(recipe.selection).weighs_ssim or scored.limit(1).collect().is_empty():
        return None
    return lambda_sweep(scored, recipe.selection, judges=recipe.scoring.judges.columns)
