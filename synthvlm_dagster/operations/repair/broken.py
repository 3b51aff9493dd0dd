"""Which shards failed, and which were begun and left unfinished."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dagster as dg

from synthvlm_dagster.images.plan import added_attempts_table
from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.operations.run import SHARD_WORK
from synthvlm_dagster.orchestration.shards import shards
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.store.storage import Storage

_TABLES: Mapping[str, Callable[[Recipe], str]] = {
    "generated_images": images_table,
    "image_scores": scores_table,
    "further_attempts": added_attempts_table,
}
FAILED = "FAILED"
IN_PROGRESS = "IN_PROGRESS"


def shard_states(instance: dg.DagsterInstance, asset: dg.AssetKey, recipe: Recipe) -> Mapping[str, str]:
    """What the Dagster UI says of each shard of an asset that it knows: MATERIALIZED, IN_PROGRESS or FAILED.

    A shard is FAILED when the last run that was to make it failed without recording it.
    """
    states = instance.get_status_by_partition(asset, recipe.shard_keys, shards) or {}
    return {shard: state.value for shard, state in states.items() if state is not None}


def failed_shards(instance: dg.DagsterInstance, asset: dg.AssetKey, recipe: Recipe) -> set[str]:
    """Shards of an asset that the Dagster UI shows as failed."""
    return {shard for shard, state in shard_states(instance, asset, recipe).items() if state == FAILED}


def unfinished_shards(instance: dg.DagsterInstance, asset: dg.AssetKey, recipe: Recipe, storage: Storage) -> set[str]:
    """Shards of an asset that were begun and have work left: recorded in Dagster, or with a file in the store.

    Shards that were never begun are not among them: a backfill makes those.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    name = asset.to_user_string()
    begun = instance.get_materialized_partitions(asset) | _shards_with_files(storage, _TABLES[name](recipe))
    return begun & set(SHARD_WORK[name](instance, recipe, storage)) if begun else set()


def _shards_with_files(storage: Storage, folder: str) -> set[str]:
    return {path.removeprefix(folder).split("/")[1] for path in storage.files(folder, ".parquet")}
