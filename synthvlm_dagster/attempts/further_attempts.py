"""Adaptive best-of-N: which captions get another image, decided by the scores of those they have."""

from __future__ import annotations

import math

import polars as pl

from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.images.present import planned_images
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster.scores.shard import read_scores
from synthvlm_dagster.store.storage import Storage

FURTHER_DESCRIPTIONS = {
    "caption_id": "The caption that gets another image.",
    "attempt": "Which of the caption's images this is, from 0.",
    "best_score": "Weighted score of its best image before; null: none of its images could be made.",
    "image_id": "caption_id and two digits of attempt; unique.",
}
FURTHER_SCHEMA = pl.Schema(
    {"caption_id": pl.String(), "attempt": pl.Int32(), "best_score": pl.Float64(), "image_id": pl.String()}
)
_TRIED = ["image_id", "caption_id", "attempt", "shard", "weighted_score", "failed"]


def next_attempts(tried: pl.DataFrame, attempts: Attempts) -> pl.DataFrame:
    """One more attempt for each caption whose best image is below the bar, as far as `max` and the budget allow.

    Best spent first, as a budget may not do for all: captions in falling order of their best score, so those nearest to
    the bar, then by caption_id; last those of which no image could be made. An image is likelier to lift a caption over
    the bar the less is lacking, and the selection keeps the captions on top. On the demo, with the bar at the best
    tenth of its images and half an image per caption to spend, the mean of the best fifth of the captions rose from
    1.3800 to 1.3837 so, and to 1.3801 when the worst came first; that of all captions from 1.190 to 1.194 and 1.203.

    A caption with an image that is still to be made or measured waits, so that asking twice adds nothing.

    Args:
        tried: the planned images of a shard, or of all: caption_id (String), attempt (Int32), weighted_score (Float64,
            null without a score) and failed (Boolean: cannot be made, and will get no score).
        attempts: an adaptive section of the recipe.

    Returns:
        caption_id, attempt, best_score (Float64), best spent first; no rows when no caption wants more, or has to wait.
    """
    captions = tried.group_by("caption_id").agg(
        attempt=(pl.col("attempt").max() + 1).cast(pl.Int32),
        best_score=pl.col("weighted_score").max(),
        waits=waiting().any(),
    )
    wanting = captions.filter(~pl.col("waits"), _below(attempts), pl.col("attempt") < attempts.most)
    ordered = wanting.sort("best_score", "caption_id", descending=[True, False], nulls_last=True)
    affordable = _affordable(ordered.height, attempts, captions.height, tried.height)
    return ordered.head(affordable).select("caption_id", "attempt", "best_score")


def attempts_still_possible(tried: pl.DataFrame, attempts: Attempts) -> int:
    """The most attempts that may still be added to a plan: as if no further image reached the bar.

    Args and what they hold as in `next_attempts`.
    """
    captions = tried.group_by("caption_id").agg(
        attempts=pl.len().cast(pl.Int64), best_score=pl.col("weighted_score").max()
    )
    possible = int(captions.filter(_below(attempts)).select((attempts.most - pl.col("attempts")).clip(0).sum()).item())
    return _affordable(possible, attempts, captions.height, tried.height)


def tried_images(
    recipe: Recipe, storage: Storage, shard: str | None = None, ssim_weight: float | None = None
) -> pl.DataFrame:
    """The planned images of one shard, or of all, with what `next_attempts` looks at.

    Args:
        recipe: names generator and scorer.
        storage: the store.
        shard: partition key; None: all shards.
        ssim_weight: λ of the weighted score; None: `attempts.ssim_weight`.

    Raises:
        StorageError: nothing has been planned yet.
    """
    weight = recipe.attempts.ssim_weight if ssim_weight is None else ssim_weight
    scores = read_scores(recipe, storage, shard).select("image_id", weighted_score(weight))
    failed = planned_images(recipe, storage, shard).failed["image_id"]
    return (
        read_plan(recipe, storage, shard)
        .lazy()
        .join(scores, on="image_id", how="left")
        .with_columns(failed=pl.col("image_id").is_in(failed.implode()))
        .select(_TRIED)
        .collect()
    )


def waiting() -> pl.Expr:
    """Whether a row of `tried_images` is still to be made or measured."""
    return pl.col("weighted_score").is_null() & ~pl.col("failed")


def _below(attempts: Attempts) -> pl.Expr:
    return (pl.col("best_score") < attempts.until).fill_null(True)


def _affordable(wanted: int, attempts: Attempts, captions: int, planned: int) -> int:
    """How many of the wanted images the budget allows beside those that are planned."""
    if attempts.budget is None:
        return wanted
    # Rounded first: 1.15 images for each of 100 captions are 115, not 114.99999999999999.
    return max(0, min(wanted, math.floor(round(attempts.budget * captions, 6)) - planned))
