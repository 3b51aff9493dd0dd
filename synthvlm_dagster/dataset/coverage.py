"""Whether every planned image that could be made has its score."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.errors import IncompleteShardsError, StorageError
from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.images.present import planned_images
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.shard import read_scores
from synthvlm_dagster.storage import Storage

_SHARDS_NAMED = 20


def complete_scores(recipe: Recipe, storage: Storage) -> pl.LazyFrame:
    """The scores of the planned images, which must all be there: one row per image, as `read_scores` gives them.

    Images that could not be made, with every seed that the recipe allows, need no score.

    Raises:
        IncompleteShardsError: a planned image has no score; names the shards and what each lacks.
        StorageError: nothing has been planned yet, or a file of scores cannot be read.
    """
    planned = read_plan(recipe, storage).select("image_id", "shard")
    scores = read_scores(recipe, storage)
    try:
        scored = scores.select("image_id").collect()
    except pl.exceptions.PolarsError as error:
        raise StorageError(
            f"a file of scores is damaged: {error}. Materialize image_scores of its shard again: it measures anew what "
            "cannot be read"
        ) from error
    unscored = planned.join(scored, on="image_id", how="anti")
    if not unscored.is_empty():
        unscored = unscored.join(planned_images(recipe, storage).failed, on="image_id", how="anti")
    if not unscored.is_empty():
        lacking = unscored.group_by("shard").len("lacking").sort("shard")
        sizes = planned.group_by("shard").len("planned")
        raise IncompleteShardsError(_listing(lacking.join(sizes, on="shard", how="left", maintain_order="left")))
    return scores


def _listing(shards: pl.DataFrame) -> str:
    named = [f"{shard}: {lacking} of {planned}" for shard, lacking, planned in shards.head(_SHARDS_NAMED).iter_rows()]
    more = f", and {shards.height - _SHARDS_NAMED} shards more" if shards.height > _SHARDS_NAMED else ""
    return (
        f"{shards['lacking'].sum()} planned images have no score (shard {', '.join(named)}{more}). Materialize "
        "generated_images and image_scores for these shards before selecting"
    )
