"""Which shard a caption belongs to, and how a Dagster run works through its shards one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from synthvlm_dagster.recipe import active_recipe
from synthvlm_dagster.work import Work

# Both features are what the project is built on; their API is pinned by the range of dagster versions it installs with.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*partitions_def on an AssetCheckSpec.*", category=dg.PreviewWarning)

DATA_VERSION_TAG = "dagster/data_version"
CODE_VERSION_TAG = "dagster/code_version"
INPUT_VERSION_TAG = "dagster/input_data_version/"
"""Followed by the name of the input."""

# The newest events say most about the machine and settings of today; a shard made twice counts twice.
_EVENTS_READ = 1000

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation

shards = dg.StaticPartitionsDefinition(active_recipe().shard_keys)


def materialize_each_shard(
    context: dg.AssetExecutionContext,
    make_shard: Callable[[str], tuple[str, dict[str, Any]]],
    check_shard: Callable[[str], dg.AssetCheckEvaluation] | None = None,
    before_shard: Callable[[str], Iterator[Event]] | None = None,
) -> Iterator[Event | dg.Output[None]]:
    """Make every shard of a run, and record each in Dagster the moment it is done.

    A shard that fails does not stop the others: the run ends with an error that names all that failed.

    Args:
        context: of an asset with `partitions_def=shards`, `output_required=False` and `dagster_type=dg.Nothing`.
        make_shard: makes the shard of a partition key; returns the data version of its table and metadata.
        check_shard: evaluates the asset's partitioned check for a shard. Called in a run of a range of shards, where
            Dagster would evaluate the check for all of them together, or, without the asset's output, not at all.
        before_shard: called before `make_shard`, where work on the shard makes its inputs anew: yields their events.

    Yields:
        One materialization per shard as it is done. The asset's output, which would record every shard of the run
        once more, follows only where it is the only record, or other assets of the run wait for it.

    Raises:
        dagster.Failure: at the end, when a shard failed.
    """
    keys = list(context.partition_keys)
    # Of one shard the output tells enough, but for inputs it tells what they were when the run began. A range of one
    # shard is a range: Dagster would evaluate the check for no shard at all, and show the shard's as skipped.
    record_each = not context.has_partition_key or before_shard is not None
    failures: dict[str, Exception] = {}
    versions: list[str] = []
    for key in keys:
        try:
            if before_shard:
                yield from before_shard(key)
            version, metadata = make_shard(key)
        # Whatever it is, it must not cost the shards that are still to come; the run fails with it at its end.
        except Exception as error:
            context.log.exception(f"shard {key} failed")
            failures[key] = error
            continue
        if record_each:
            yield shard_materialization(context, context.assets_def, key, version, metadata)
            if check_shard:
                yield check_shard(key)
        versions.append(version)
        context.add_asset_metadata(metadata, partition_key=key)
    if failures:
        listed = "\n".join(f"shard {key}: {error}" for key, error in failures.items())
        raise dg.Failure(
            description=f"{len(failures)} of {len(keys)} shards failed; the others are recorded. Materialize the "
            f"failed ones again when the cause is gone.\n{listed}",
            metadata={"failed_shards": ", ".join(failures)},
            allow_retries=False,
        )
    if not record_each or _other_assets_follow(context):
        context.set_data_version(context.asset_key, dg.DataVersion("-".join(versions)))
        yield dg.Output(None)


def recorded_work(instance: dg.DagsterInstance, asset: dg.AssetKey, images: str, **settings: str) -> Work:
    """What the newest 1,000 materializations of an asset's shards took.

    Args:
        instance: holds the materializations.
        asset: an asset whose metadata has `seconds`, and perhaps `model_load_seconds` and `gpu_seconds`.
        images: the metadata that counts the images of a materialization.
        settings: metadata that a materialization must have, such as the name of the generator; others do not count.
    """
    total = Work()
    for record in instance.fetch_materializations(asset, limit=_EVENTS_READ).records:
        event = record.asset_materialization
        facts = {name: value.value for name, value in event.metadata.items()} if event else {}
        made, seconds, loading = facts.get(images), facts.get("seconds"), facts.get("model_load_seconds", 0.0)
        if (
            isinstance(made, int)
            and isinstance(seconds, float | int)
            and isinstance(loading, float | int)
            and all(facts.get(name) == value for name, value in settings.items())
        ):
            total = Work(
                total.images + made,
                total.seconds + seconds,
                total.load_seconds + loading,
                total.on_gpu or "gpu_seconds" in facts,
            )
    return total


def shard_materialization(
    context: dg.AssetExecutionContext,
    asset: dg.AssetsDefinition,
    shard: str,
    version: str,
    metadata: dict[str, Any],
) -> dg.AssetMaterialization:
    """Record that one shard of an asset, the run's own or another, has been made.

    Args:
        context: of the run.
        asset: with one key.
        shard: partition key.
        version: data version of the shard's table.
        metadata: to show of it.
    """
    return dg.AssetMaterialization(
        asset_key=asset.key,
        partition=shard,
        metadata=metadata,
        tags=_provenance(context.instance, asset, shard) | {DATA_VERSION_TAG: version},
    )


def worst_of(evaluations: Sequence[dg.AssetCheckEvaluation]) -> dg.AssetCheckResult:
    """Result of a check over several shards: the first evaluation that did not pass, or else the first."""
    worst = next((evaluation for evaluation in evaluations if not evaluation.passed), evaluations[0])
    return dg.AssetCheckResult(
        passed=worst.passed, severity=worst.severity, description=worst.description, metadata=worst.metadata
    )


def _other_assets_follow(context: dg.AssetExecutionContext) -> bool:
    selection = context.run.asset_selection
    return selection is None or len(selection) > 1


def _provenance(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, shard: str) -> dict[str, str]:
    """What Dagster itself would record of the code and the inputs; without it the UI calls the shard out of date."""
    tags = {CODE_VERSION_TAG: asset.code_versions_by_key.get(asset.key) or ""}
    for dependency in asset.asset_deps[asset.key]:
        record = _latest_materialization(instance, dependency, shard)
        if record is not None and record.asset_materialization is not None:
            name = dependency.to_user_string()
            version = (record.asset_materialization.tags or {}).get(DATA_VERSION_TAG, "")
            tags[f"{INPUT_VERSION_TAG}{name}"] = version
            tags[f"dagster/input_event_pointer/{name}"] = str(record.storage_id)
    return tags


def _latest_materialization(instance: dg.DagsterInstance, asset: dg.AssetKey, shard: str) -> dg.EventLogRecord | None:
    of_shard = instance.fetch_materializations(dg.AssetRecordsFilter(asset, asset_partitions=[shard]), limit=1)
    of_asset = instance.fetch_materializations(asset, limit=1)
    return next(iter([*of_shard.records, *of_asset.records]), None)
