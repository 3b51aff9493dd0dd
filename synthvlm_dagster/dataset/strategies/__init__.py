"""The strategies of selection, one in each file."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.strategy import Strategy
from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.recipe import Selection

__all__ = ["STRATEGIES", "describe_merit", "merit", "strategy_of"]

STRATEGIES: dict[str, Strategy] = find_parts(__name__, "STRATEGY")
"""By the name that they have in the recipe."""


def strategy_of(selection: Selection) -> Strategy:
    """The strategy that a recipe selects by."""
    return STRATEGIES[selection.strategy]


def merit(scores: pl.LazyFrame, selection: Selection, seed: int = 0) -> pl.Expr:
    """The number that attempts and captions are compared by; more is better.

    Args:
        scores: one row per measured image, with image_id, clip_score and ssim; read where the strategy standardises.
        selection: strategy and λ.
        seed: of a strategy that draws.
    """
    return strategy_of(selection).merit(scores, selection, seed)


def describe_merit(selection: Selection) -> str:
    """What images are compared by, in words, such as `CLIPScore + 0.5 · SSIM`."""
    return strategy_of(selection).in_words(selection)
