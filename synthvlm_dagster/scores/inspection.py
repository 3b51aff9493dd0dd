"""What is wrong with the scores of a shard."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.shard import missing_scores, read_scores
from synthvlm_dagster.storage import Storage

_TOLERANCE = 1e-9


class ShardFaults(NamedTuple):
    """Counts of one shard's scores and of what is wrong with them."""

    scored: int
    """Images with a score."""
    missing: int
    """Images without one."""
    impossible: tuple[str, ...]
    """image_ids whose clip_score is outside [0, 1], whose ssim is outside [-1, 1], or one of them missing or NaN."""


def inspect_scores(recipe: Recipe, storage: Storage, shard: str) -> ShardFaults:
    """Count a shard's images with, without and with impossible scores.

    Raises:
        StorageError: nothing has been planned yet.
    """
    scores = read_scores(recipe, storage, shard).select("image_id", "clip_score", "ssim").collect()
    # Rounding may carry the SSIM of a perfect copy past 1 by some 1e-16.
    possible = pl.col("clip_score").is_between(0, 1) & pl.col("ssim").is_between(-1 - _TOLERANCE, 1 + _TOLERANCE)
    impossible = scores.filter(~possible.fill_null(False))["image_id"].sort()
    missing = missing_scores(recipe, storage, shard).select(pl.len()).collect().item()
    return ShardFaults(scores.height, missing, tuple(impossible))
