"""The whole plan: what the captions have by themselves, what nights added, and what the scores ask for.

What an adaptive recipe asks for is no table: it follows from the first attempts and the scores of their images, round
by round, and so is always what a fresh run of the recipe as it is now would ask for.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from synthvlm_dagster.attempts.further_attempts import tried_images, with_further_attempts
from synthvlm_dagster.attempts.nights import nights_attempts, with_nights_attempts
from synthvlm_dagster.images.plan import first_attempts, recipe_of_plan
from synthvlm_dagster.images.state import given_up
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.scores.table import scan_scores
from synthvlm_dagster.store.chunks import rows_by_shard
from synthvlm_dagster.store.storage import Storage

_VALUES = {"image_id": pl.String(), "clip_score": pl.Float64(), "ssim": pl.Float64()}


class Plan(NamedTuple):
    """What is planned, and what of it cannot be made."""

    images: pl.DataFrame
    """The plan's columns and image_id; sorted by caption_id and attempt."""
    given_up: pl.DataFrame
    """Images that could not be made, planned or not; see `given_up`."""
    values: pl.DataFrame | None
    """CLIPScore and SSIM of images, where they say what is planned; see `read_values`."""

    @property
    def awaited(self) -> pl.DataFrame:
        """The planned images that can be made, and so should have a score."""
        return self.images.join(self.given_up, on=["image_id", "shard"], how="anti", maintain_order="left")


def whole_plan(recipe: Recipe, storage: Storage, shard: str | None = None) -> Plan:
    """The planned images of one shard, or of all, and those that could not be made.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    plan, failed = plan_before_scores(recipe, storage, shard), given_up(recipe, storage, shard)
    if not recipe.attempts.adaptive:
        return Plan(plan, failed, None)
    attempts, values = recipe_of_plan(recipe, storage).attempts, read_values(recipe, storage, shard)
    scores = weighted(values, attempts.ssim_weight)
    return Plan(with_further_attempts(plan, scores, failed, attempts), failed, values)


def read_plan(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """The planned images of one shard, or of all; see `Plan`.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    return whole_plan(recipe, storage, shard).images


def read_tried(
    recipe: Recipe, storage: Storage, shard: str | None = None, ssim_weight: float | None = None
) -> pl.DataFrame:
    """The planned images of one shard, or of all, with their weighted scores; see `tried_images`.

    Args:
        recipe: names generator and scorer.
        storage: the store.
        shard: partition key; None: all shards.
        ssim_weight: λ of the weighted score; None: `attempts.ssim_weight`.

    Raises:
        StorageError: nothing has been planned yet.
    """
    plan = whole_plan(recipe, storage, shard)
    values = read_values(recipe, storage, shard) if plan.values is None else plan.values
    weight = recipe.attempts.ssim_weight if ssim_weight is None else ssim_weight
    return tried_images(plan.images, weighted(values, weight), plan.given_up)


def read_scores(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.LazyFrame:
    """Scores of the planned images of one shard, or of all, lazily; see `scan_scores`.

    Raises:
        StorageError: nothing has been planned yet.
    """
    return scan_scores(recipe, storage, whole_plan(recipe, storage, shard).awaited, shard)


def plan_before_scores(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """The planned images of one shard, or of all, before any score asks for more; as `read_plan`.

    Raises:
        StorageError: nothing has been planned yet.
    """
    return with_nights_attempts(first_attempts(storage, shard), nights_attempts(recipe, storage, shard))


def read_values(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """CLIPScore and SSIM of all images of a shard, planned or not, each once: image_id, shard, clip_score, ssim."""
    rows = rows_by_shard(storage, scores_table(recipe, shard), _VALUES).drop("file")
    return rows.unique(["image_id", "shard"], keep="first", maintain_order=True)


def weighted(values: pl.DataFrame, ssim_weight: float) -> pl.DataFrame:
    """The values as `with_further_attempts` looks at them: image_id, shard, weighted_score."""
    return values.select("image_id", "shard", weighted_score(ssim_weight))
