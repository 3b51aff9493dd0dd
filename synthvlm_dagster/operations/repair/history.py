"""What Dagster's records say of the shards that failed: when, why, and how often they were repaired in vain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from synthvlm_dagster.operations.failures import failure_in_words
from synthvlm_dagster.operations.names import REPAIR_JOB, REPAIR_OP
from synthvlm_dagster.operations.notifications.secrets import masked
from synthvlm_dagster.operations.repair.broken import FAILED, IN_PROGRESS, shard_states
from synthvlm_dagster.operations.repair.policy import FailedShard
from synthvlm_dagster.operations.sharded_assets import sharded_assets
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import ERRORS_OF_SHARDS

AUTOMATIC_TAG = "synthvlm/automatic_repair"
"""Marks the runs of `repair_shards` that the sensor launched."""

_RUNS_READ = 1000


def repair_config(dataset: Dataset, shards: list[str]) -> dict[str, Any]:
    """Run configuration of `repair_shards` for some shards."""
    return {"ops": {dataset.name(REPAIR_OP): {"config": {"shards": shards}}}}


def shards_to_repair(dataset: Dataset, run_config: Mapping[str, Any]) -> list[str]:
    """The shards of a `repair_config`."""
    return list(run_config["ops"][dataset.name(REPAIR_OP)]["config"]["shards"])


def repair_is_running(instance: dg.DagsterInstance, dataset: Dataset) -> bool:
    """Whether a run of `repair_shards` is queued, starting or at work."""
    unfinished = dg.RunsFilter(job_name=dataset.name(REPAIR_JOB), statuses=NOT_FINISHED_STATUSES)
    return bool(instance.get_runs(unfinished, limit=1))


def read_failed_shards(instance: dg.DagsterInstance, dataset: Dataset, graph: BaseAssetGraph) -> list[FailedShard]:
    """The shards that Dagster shows as failed, in order, without those that a run or a backfill still has to make.

    Args:
        instance: holds the records.
        dataset: whose shards they are.
        graph: the assets' graph, which the records of backfills refer to.
    """
    keys = {asset.name: asset.key for asset in sharded_assets(dataset)}
    states = {name: shard_states(instance, key, dataset) for name, key in keys.items()}
    failed = {
        shard: [name for name in keys if states[name].get(shard) == FAILED]
        for shard in dataset.recipe.shard_keys
        if all(states[name].get(shard) != IN_PROGRESS for name in keys)
    }
    failed = {shard: names for shard, names in failed.items() if names}
    if not failed:
        return []
    in_backfills = _shards_in_backfills(instance, list(keys.values()), graph)
    begun, ended = _automatic_repairs(instance, dataset)
    errors = cache(lambda run_id: _errors_of_run(instance, run_id))
    found = []
    for shard, names in failed.items():
        if shard in in_backfills:
            continue
        run_ids = [_last_run_to_make(instance, keys[name], shard) for name in names]
        records = [record for run_id in run_ids if run_id and (record := instance.get_run_record_by_id(run_id))]
        last_made = min(_last_made(instance, keys[name], shard) for name in names)
        found.append(
            FailedShard(
                shard,
                tuple(names),
                max([ended[shard], *(record.end_time or 0.0 for record in records)]),
                _error_of(errors(records[0].dagster_run.run_id), shard) if records else "",
                sum(when > last_made for when in begun[shard]),
            )
        )
    return found


def _last_run_to_make(instance: dg.DagsterInstance, asset: dg.AssetKey, shard: str) -> str | None:
    """Id of the run that was to make the shard, and is the reason why it counts as failed."""
    planned = instance.get_latest_planned_materialization_info(asset, shard)
    return planned.run_id if planned else None


def _last_made(instance: dg.DagsterInstance, asset: dg.AssetKey, shard: str) -> float:
    of_shard = dg.AssetRecordsFilter(asset, asset_partitions=[shard])
    return next((record.timestamp for record in instance.fetch_materializations(of_shard, limit=1).records), 0.0)


def _automatic_repairs(
    instance: dg.DagsterInstance, dataset: Dataset
) -> tuple[Mapping[str, list[float]], Mapping[str, float]]:
    """By shard: when automatic repairs of it were launched, and when the last of them ended.

    A repair that Dagster retried after a crash of its process counts once.
    """
    begun: defaultdict[str, list[float]] = defaultdict(list)
    ended: defaultdict[str, float] = defaultdict(float)
    automatic = dg.RunsFilter(job_name=dataset.name(REPAIR_JOB), tags={AUTOMATIC_TAG: "true"})
    for record in instance.get_run_records(automatic, limit=_RUNS_READ):
        run = record.dagster_run
        for shard in shards_to_repair(dataset, run.run_config):
            if run.parent_run_id is None:
                begun[shard].append(record.create_timestamp.timestamp())
            ended[shard] = max(ended[shard], record.end_time or 0.0)
    return begun, ended


def _shards_in_backfills(instance: dg.DagsterInstance, assets: list[dg.AssetKey], graph: BaseAssetGraph) -> set[str]:
    """Shards of some assets that a backfill which has not ended was asked to make."""
    running = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    shards: set[str] = set()
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=running)):
        if not backfill.is_asset_backfill:
            continue
        target = backfill.get_asset_backfill_data(graph).target_subset
        for asset in assets:
            if asset in target.partitions_subsets_by_asset_key:
                shards.update(target.get_partitions_subset(asset).get_partition_keys())
    return shards


def _errors_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[Mapping[str, str], str]:
    """What went wrong with each shard, as far as the run lived to tell it; and with the run."""
    of_shards: dict[str, str] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        told = entry.dagster_event.step_failure_data.user_failure_data if entry.dagster_event else None
        errors = (told.metadata if told else {}).get(ERRORS_OF_SHARDS)
        if isinstance(errors, dg.JsonMetadataValue) and isinstance(errors.value, dict):
            of_shards |= errors.value
    return of_shards, failure_in_words(instance, run_id) or "the run has left no reason"


def _error_of(errors: tuple[Mapping[str, str], str], shard: str) -> str:
    of_shards, of_run = errors
    return masked(of_shards.get(shard, of_run))
