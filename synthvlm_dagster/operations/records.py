"""Dagster's records of what stands in the store: written again where it has none, or another's.

The store alone tells what is made and what it was made from. Dagster may not know of it: its database was lost or
belongs to another project folder; the recipe went back to an earlier state, whose tables still stand; or a plan changed
and left a shard as it was. Nothing is made again for that: a runless event says what stands, so that the UI shows as
out of sync what `synthvlm plan` would make, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

from synthvlm_dagster.attempts.state import State
from synthvlm_dagster.captions.made_from import source_version
from synthvlm_dagster.dataset.made_from import PLACES
from synthvlm_dagster.operations.sharded_assets import ShardedAsset
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.freshness import is_in_sync
from synthvlm_dagster.orchestration.shards import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    provenance,
)

_MATERIALIZATION = dg.DagsterEventType.ASSET_MATERIALIZATION
_EVENTS_READ = 20
RECORDED_AGAIN = "recorded_again"
"""Metadata of events that tell what stood already."""
_WHY = (
    "It stood in the store; Dagster had no record of it, or of something else in its place. Figures beside this are of "
    "the run that made it."
)


def record_table(instance: dg.DagsterInstance, graph: BaseAssetGraph, spec: dg.AssetSpec, dataset: Dataset) -> bool:
    """Record an up-to-date asset without partitions, if Dagster's newest record is of something else.

    Args:
        instance: holds the records.
        graph: of the code location.
        spec: of the asset, all of whose inputs have been recorded.
        dataset: whose asset it is.

    Returns:
        Whether an event was written.
    """
    name, storage = spec.key.path[-1], dataset.storage
    made = storage.made_from(PLACES[name])
    if made is None:
        return False
    newest = next(iter(instance.fetch_materializations(spec.key, limit=1).records), None)
    tags = (newest.asset_materialization.tags or {}) if newest and newest.asset_materialization else {}
    if tags.get(DATA_VERSION_TAG) == made.version and is_in_sync(instance, graph, spec.key):
        return False
    metadata = _recorded(instance, spec.key, made.version, None, storage.url(PLACES[name]))
    if name == "raw_captions":
        metadata["source_version"] = source_version(dataset.recipe.sources)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            spec.key,
            metadata=metadata,
            tags={
                CODE_VERSION_TAG: spec.code_version or "",
                DATA_VERSION_TAG: made.version,
                **provenance(instance, (dep.asset_key for dep in spec.deps), None),
            },
        )
    )
    return True


def record_shards(
    instance: dg.DagsterInstance,
    spec: dg.AssetSpec,
    passed_through: Sequence[ShardedAsset],
    dataset: Dataset,
    state: State,
) -> list[str]:
    """Record complete shards of which Dagster's newest record is of something else.

    Args:
        instance: holds the records.
        spec: of the asset.
        passed_through: the assets that a shard passes through up to this one, as they stand in the store.
        dataset: whose asset it is.
        state: of all shards.

    Returns:
        Partition keys of those for which an event was written.
    """
    asset = passed_through[-1]
    versions = asset.versions(state)
    storage = instance.event_log_storage
    known = storage.get_latest_tags_by_partition(asset.key, _MATERIALIZATION, [DATA_VERSION_TAG])
    places = storage.get_latest_storage_id_by_partition(asset.key, _MATERIALIZATION)
    whole, of_shards = _places_of_inputs(instance, _deps(spec))
    written = []
    unfinished = set().union(*(each.unfinished(state) for each in passed_through))
    for shard in (key for key in dataset.recipe.shard_keys if key not in unfinished):
        since = max(whole, *(places_of_input.get(shard, 0) for places_of_input in of_shards), 0)
        if known.get(shard) == {DATA_VERSION_TAG: versions[shard]} and places[shard] > since:
            continue
        place = dataset.storage.url(f"{asset.table(dataset.recipe)}/{shard}")
        tags = {
            CODE_VERSION_TAG: spec.code_version or "",
            DATA_VERSION_TAG: versions[shard],
            **provenance(instance, _deps(spec), shard),
        }
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset.key,
                partition=shard,
                metadata=_recorded(instance, asset.key, versions[shard], shard, place),
                tags=tags,
            )
        )
        written.append(shard)
    return written


def _recorded(
    instance: dg.DagsterInstance, key: dg.AssetKey, version: str, shard: str | None, place: str
) -> dict[str, Any]:
    """Metadata for what stands at `place`: that of the newest event of the same version, where one of the last has it.

    Without it the UI would draw no figures of a shard that nothing was done to.
    """
    events = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[shard] if shard else None)
    for record in instance.fetch_materializations(events, limit=_EVENTS_READ).records:
        if record.asset_materialization and _version(record) == version:
            return {**record.asset_materialization.metadata, "dagster/uri": place, RECORDED_AGAIN: _WHY}
    return {"dagster/uri": place, RECORDED_AGAIN: _WHY}


def _places_of_inputs(
    instance: dg.DagsterInstance, inputs: Iterable[dg.AssetKey]
) -> tuple[int, list[Mapping[str, int]]]:
    """Since when the inputs are what they are, as places in Dagster's event log.

    Returns:
        The newest place at which an input without partitions got another version, 0 where none is recorded; and of
        each input with partitions the newest place of each shard. What was recorded later tells these inputs.
    """
    whole, of_shards = 0, []
    for asset in inputs:
        records = instance.fetch_materializations(asset, limit=_EVENTS_READ).records
        if not records:
            continue
        if records[0].partition_key is not None:
            of_shards.append(instance.event_log_storage.get_latest_storage_id_by_partition(asset, _MATERIALIZATION))
            continue
        versions = [_version(record) for record in records]
        changed = next((place for place, version in enumerate(versions) if version != versions[0]), len(versions))
        whole = max(whole, records[changed - 1].storage_id)
    return whole, of_shards


def _version(record: dg.EventLogRecord) -> str:
    made = record.asset_materialization
    return (made.tags or {}).get(DATA_VERSION_TAG, "") if made else ""


def _deps(spec: dg.AssetSpec) -> list[dg.AssetKey]:
    return [dep.asset_key for dep in spec.deps]
