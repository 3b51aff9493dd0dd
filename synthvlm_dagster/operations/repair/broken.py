"""Which shards failed, and which were begun and left unfinished."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from synthvlm_dagster.attempts.state import State
from synthvlm_dagster.operations.sharded_assets import ShardedAsset
from synthvlm_dagster.orchestration.dataset import Dataset

FAILED = "FAILED"
IN_PROGRESS = "IN_PROGRESS"


def shard_states(instance: dg.DagsterInstance, asset: dg.AssetKey, dataset: Dataset) -> Mapping[str, str]:
    """What the Dagster UI says of each shard of an asset that it knows: MATERIALIZED, IN_PROGRESS or FAILED.

    A shard is FAILED when the last run that was to make it failed without recording it.
    """
    states = instance.get_status_by_partition(asset, dataset.recipe.shard_keys, dataset.shards) or {}
    return {shard: state.value for shard, state in states.items() if state is not None}


def failed_shards(instance: dg.DagsterInstance, asset: dg.AssetKey, dataset: Dataset) -> set[str]:
    """Shards of an asset that the Dagster UI shows as failed."""
    return {shard for shard, state in shard_states(instance, asset, dataset).items() if state == FAILED}


def unfinished_shards(instance: dg.DagsterInstance, asset: ShardedAsset, state: State) -> set[str]:
    """Shards of an asset that were begun and have work left: recorded in Dagster, or with something in the store.

    Shards that were never begun are not among them: a backfill makes those.

    Args:
        instance: knows what is recorded.
        asset: whose shards.
        state: of all shards.
    """
    begun = instance.get_materialized_partitions(asset.key) | asset.begun(state)
    return begun & set(asset.shards_with_work(state))
