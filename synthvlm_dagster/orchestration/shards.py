"""Which shard a caption belongs to, and how a Dagster run works through its shards one by one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent

from synthvlm_dagster.orchestration.work import Work

# Both features are what the project is built on; their API is pinned by the range of dagster versions it installs with.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*partitions_def on an AssetCheckSpec.*", category=dg.PreviewWarning)

DATA_VERSION_TAG = "dagster/data_version"
CODE_VERSION_TAG = "dagster/code_version"
INPUT_VERSION_TAG = "dagster/input_data_version/"
"""Followed by the name of the input."""
FAILED_SHARDS = "failed_shards"
ERRORS_OF_SHARDS = "errors_of_shards"
"""Metadata of a failed run: what went wrong, by partition key."""

# The newest events say most about the machine and settings of today; a shard made twice counts twice.
_EVENTS_READ = 1000

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation
RunContext = dg.AssetExecutionContext | dg.OpExecutionContext


class Made(NamedTuple):
    """A shard that has been made."""

    version: str
    """Data version of its table."""
    metadata: dict[str, Any]
    check: Callable[[], dg.AssetCheckEvaluation] | None = None
    """Evaluates the asset's partitioned check, of what making the shard has read already. Called where shards are
    recorded one by one: of a run of many, Dagster would evaluate the check for all of them together, or, without the
    asset's output, not at all."""


@dataclass(frozen=True)
class ShardWork:
    """How the shards of an asset are made. One object serves all shards of a run, so that they share their models."""

    make: Callable[[str], Generator[Event, None, Made]]
    """Makes what is missing of the shard of a partition key; yields events of its inputs where it makes them anew."""
    makes_inputs: bool = False
    """Whether work on a shard may make its inputs anew."""


def making(make: Callable[[str], Made]) -> Callable[[str], Generator[Event, None, Made]]:
    """What `ShardWork` takes, of a function that makes a shard and none of its inputs."""

    def make_shard(shard: str) -> Generator[Event, None, Made]:
        yield from ()
        return make(shard)

    return make_shard


@dataclass(frozen=True)
class ShardsOutcome:
    """What became of the shards of a run."""

    made: dict[str, Made] = field(default_factory=dict)
    """By partition key."""
    failed: dict[str, Exception] = field(default_factory=dict)
    unsound: dict[str, str] = field(default_factory=dict)
    """Made, but their check found an error: what it says, by partition key."""


def materialize_each_shard(context: dg.AssetExecutionContext, work: ShardWork) -> Iterator[Event | dg.Output[None]]:
    """Make every shard of a run, and record each in Dagster the moment it is done.

    A shard that fails does not stop the others: the run ends with an error that names all that failed.

    Args:
        context: of an asset with the partitions of a dataset's shards, `output_required=False` and
        `dagster_type=dg.Nothing`. work: makes and checks a shard.

    Yields:
        One materialization per shard as it is done. The asset's output, which would record every shard of the run
        once more, follows only where it is the only record, or other assets of the run wait for it.

    Raises:
        dagster.Failure: at the end, when a shard failed.
    """
    keys = list(context.partition_keys)
    # Of one shard the output tells enough, but for inputs it tells what they were when the run began. A range of one
    # shard is a range: Dagster would evaluate the check for no shard at all, and show the shard's as skipped.
    record_each = not context.has_partition_key or work.makes_inputs
    outcome = yield from make_shards(context, context.assets_def, keys, work, record=record_each)
    if outcome.failed:
        raise shards_failure(outcome.failed, len(keys))
    if not record_each or _other_assets_follow(context):
        for key, made in outcome.made.items():
            context.add_asset_metadata(made.metadata, partition_key=key)
        versions = [made.version for made in outcome.made.values()]
        context.set_data_version(context.asset_key, dg.DataVersion("-".join(versions)))
        yield dg.Output(None)


def make_shards(
    context: RunContext, asset: dg.AssetsDefinition, keys: Sequence[str], work: ShardWork, *, record: bool = True
) -> Generator[Event, None, ShardsOutcome]:
    """Make shards of an asset one after the other; one that fails does not stop the others.

    Args:
        context: of the run.
        asset: with one key; the run's own or another.
        keys: partition keys.
        work: makes and checks a shard.
        record: yield a materialization, and the check's evaluation, the moment a shard is done.
    """
    outcome = ShardsOutcome()
    for key in keys:
        try:
            made = yield from work.make(key)
        # Whatever it is, it must not cost the shards that are still to come; the run fails with it at its end.
        except Exception as error:
            context.log.exception(f"shard {key} failed")
            outcome.failed[key] = error
            continue
        outcome.made[key] = made
        if record:
            yield shard_materialization(context, asset, key, made)
            if made.check:
                try:
                    evaluation = made.check()
                except Exception as error:
                    context.log.exception(f"shard {key} is made, but cannot be checked")
                    outcome.failed[key] = error
                    continue
                yield evaluation
                if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
                    outcome.unsound[key] = evaluation.description or evaluation.check_name
    return outcome


def announce_work(context: dg.OpExecutionContext, asset: dg.AssetKey, keys: Sequence[str | None]) -> None:
    """Tell Dagster that this run is to make an asset, as it does itself for runs of assets.

    Until it is recorded, the UI shows it in progress, and declarative automation waits; if the run fails before, or
    dies, it is shown as failed.

    Args:
        context: of an op.
        asset: to be made by the run, or by one that it launches.
        keys: partition keys; `[None]` for an asset without partitions.
    """
    for key in keys:
        planned = DagsterEvent.build_asset_materialization_planned_event(
            context.job_name, str(context.op_handle), AssetMaterializationPlannedData(asset, key)
        )
        context.instance.report_dagster_event(planned, context.run_id, logging.DEBUG)


def shards_failure(failed: Mapping[str, Exception | str], of: int) -> dg.Failure:
    """The error with which a run ends in which shards failed: names each with its reason.

    Args:
        failed: what went wrong, by partition key.
        of: number of shards that the run was to make.
    """
    listed = "\n".join(f"shard {key}: {error}" for key, error in failed.items())
    return dg.Failure(
        description=f"{len(failed)} of {of} shards failed; the others are recorded. Materialize the "
        f"failed ones again when the cause is gone.\n{listed}",
        metadata={
            FAILED_SHARDS: ", ".join(failed),
            ERRORS_OF_SHARDS: dg.MetadataValue.json({key: str(error) for key, error in failed.items()}),
        },
        allow_retries=False,
    )


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
    context: RunContext,
    asset: dg.AssetsDefinition,
    shard: str,
    made: Made,
) -> dg.AssetMaterialization:
    """Record that one shard of an asset, the run's own or another, has been made.

    Args:
        context: of the run.
        asset: with one key.
        shard: partition key.
        made: the shard.
    """
    return dg.AssetMaterialization(
        asset_key=asset.key,
        partition=shard,
        metadata=made.metadata,
        tags={
            CODE_VERSION_TAG: asset.code_versions_by_key.get(asset.key) or "",
            DATA_VERSION_TAG: made.version,
            **provenance(context.instance, asset.asset_deps[asset.key], shard),
        },
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


def provenance(instance: dg.DagsterInstance, inputs: Iterable[dg.AssetKey], shard: str | None) -> dict[str, str]:
    """The tags that Dagster itself writes of inputs; without them the UI calls what was made of them out of date.

    Args:
        instance: holds the records of the inputs.
        inputs: of what is recorded.
        shard: partition key of what is recorded; None for an asset without partitions, whose inputs may have some.
    """
    tags = {}
    for asset in inputs:
        record = _newest(instance, asset, shard)
        if record is not None and record.asset_materialization is not None:
            name = asset.to_user_string()
            tags[f"{INPUT_VERSION_TAG}{name}"] = (record.asset_materialization.tags or {}).get(DATA_VERSION_TAG, "")
            tags[f"dagster/input_event_pointer/{name}"] = str(record.storage_id)
    return tags


def _newest(instance: dg.DagsterInstance, asset: dg.AssetKey, shard: str | None) -> dg.EventLogRecord | None:
    """The newest materialization of an input: for a shard, its own or the whole asset's, never another shard's."""
    newest = next(iter(instance.fetch_materializations(asset, limit=1).records), None)
    if shard is None or newest is None or newest.partition_key in (None, shard):
        return newest
    of_shard = instance.fetch_materializations(dg.AssetRecordsFilter(asset, asset_partitions=[shard]), limit=1)
    return next(iter(of_shard.records), None)
