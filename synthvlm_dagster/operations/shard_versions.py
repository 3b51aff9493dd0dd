"""The data versions of what stands of all shards, as the runs that make a shard record them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from synthvlm_dagster.attempts.assets import attempts_of_shard_version
from synthvlm_dagster.images.made_from import images_of_shard_version
from synthvlm_dagster.scores.made_from import scores_of_shard_version

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.attempts.state import State

_OF_IMAGE = ("shard", "image_id")


def images_versions(state: State) -> dict[str, str]:
    """Of `generated_images`, by partition key; `state` of all shards."""
    generator = state.images.generator
    return _by_shard(state, state.images.present, lambda _, ids: images_of_shard_version(generator, ids))


def scores_versions(state: State) -> dict[str, str]:
    """Of `image_scores`, by partition key; `state` of all shards."""
    tables, scored = state.measured.tables, state.measured.scores(state.images)
    return _by_shard(state, scored, lambda shard, ids: scores_of_shard_version(tables, shard, ids))


def attempts_versions(state: State) -> dict[str, str]:
    """Of `further_attempts`, by partition key; `state` of all shards."""
    recipe, attempts = state.images.recipe, state.attempts
    return _by_shard(
        state, state.images.plan, lambda shard, ids: attempts_of_shard_version(recipe, shard, attempts, ids)
    )


def _by_shard(state: State, images: pl.DataFrame, version: Callable[[str, pl.Series], str]) -> dict[str, str]:
    import polars as pl

    nothing = pl.Series("image_id", [], pl.String)
    of_shard = images.select(_OF_IMAGE).partition_by("shard", as_dict=True)
    ids = {shard: rows["image_id"] for (shard,), rows in of_shard.items()}
    return {shard: version(shard, ids.get(shard, nothing)) for shard in state.images.recipe.shard_keys}
