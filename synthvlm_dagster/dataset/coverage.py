"""Which of the planned images that could be made have their score."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from synthvlm_dagster.attempts.plan import whole_plan
from synthvlm_dagster.errors import IncompleteShardsError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.table import damaged_scores, scan_scores
from synthvlm_dagster.store.storage import Storage

_SHARDS_NAMED = 20


class Coverage(NamedTuple):
    """How many of the planned images can be selected from.

    Images that could not be made, with every seed that the recipe allows, are left out: they need no score.
    """

    awaited: int
    """Planned images that have a score or should have one."""
    lacking: int
    """Those of them without a score."""
    shards: pl.DataFrame
    """One row per shard with images that lack a score, in order: shard, lacking, planned."""
    images: pl.DataFrame
    """The awaited images: image_id and shard."""

    @property
    def missing_share(self) -> float:
        """lacking / awaited, in [0, 1]; 0 where nothing is awaited."""
        return self.lacking / self.awaited if self.awaited else 0.0

    def __str__(self) -> str:
        """One sentence without its full stop, such as "3 of 36 planned images have no score (shard 0001: 3 of 18)"."""
        if not self.lacking:
            return f"all {self.awaited} images have a score"
        shown = self.shards.head(_SHARDS_NAMED).iter_rows()
        named = ", ".join(f"{shard}: {lacking} of {planned}" for shard, lacking, planned in shown)
        rest = self.shards.height - _SHARDS_NAMED
        more = f", and {rest} shards more" if rest > 0 else ""
        return f"{self.lacking} of {self.awaited} planned images have no score (shard {named}{more})"


def score_coverage(recipe: Recipe, storage: Storage) -> Coverage:
    """Count the planned images with and without a score by the recipe's scorer.

    Raises:
        StorageError: nothing has been planned yet, or a file of scores cannot be read.
    """
    plan = whole_plan(recipe, storage)
    awaited = plan.awaited.select("image_id", "shard")
    try:
        scored = scan_scores(recipe, storage, awaited).select("image_id").collect()
    except pl.exceptions.PolarsError as error:
        raise damaged_scores(error) from error
    unscored = awaited.join(scored, on="image_id", how="anti")
    sizes = plan.images.group_by("shard").len("planned")
    lacking = unscored.group_by("shard").len("lacking").join(sizes, on="shard", how="left").sort("shard")
    return Coverage(awaited.height, unscored.height, lacking, awaited)


def complete_scores(recipe: Recipe, storage: Storage, coverage: Coverage | None = None) -> pl.LazyFrame:
    """The scores of the planned images, of which no more may be missing than `selection.allow_missing`.

    Args:
        recipe: names the scorer and what may be missing.
        storage: the store of plan and scores.
        coverage: from `score_coverage` a moment ago; counted here where it is not given.

    Returns:
        One row per scored image, as `scan_scores` gives them.

    Raises:
        IncompleteShardsError: too many planned images have no score; names the shards and what each lacks.
        StorageError: nothing has been planned yet, or a file of scores cannot be read.
    """
    coverage = coverage or score_coverage(recipe, storage)
    allowed = recipe.selection.allow_missing
    if coverage.missing_share > allowed:
        limit = f"; selection.allow_missing allows {allowed:.2%}, and these are {coverage.missing_share:.2%}"
        raise IncompleteShardsError(
            f"{coverage}{limit if allowed else ''}. Materialize generated_images and image_scores for these shards "
            "before selecting"
        )
    return scan_scores(recipe, storage, coverage.images)
