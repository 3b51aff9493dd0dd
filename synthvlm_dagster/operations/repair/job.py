"""The job that makes shards again, wherever they lie, in one run with one model load."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.names import REPAIR_JOB, REPAIR_OP
from synthvlm_dagster.operations.sharded_assets import ShardedAsset, sharded_assets
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import announce_work, make_shards, shards_failure


class RepairError(SynthVLMError):
    """What is to be repaired does not exist."""


class WhatToRepair(dg.Config):
    """Which shards to make again, and how far."""

    shards: list[str] = Field(
        default=[],
        description='Partition keys of the shards to repair, such as ["0003", "0017"]; they need not be neighbours. '
        "Empty: every shard that failed, or was begun and has work left.",
    )
    assets: list[str] = Field(
        default=[],
        description="Assets to repair: generated_images, image_scores, and with an adaptive recipe further_attempts. "
        "Empty: all of them, one after the other, so that a shard is whole at the end.",
    )


def repair_shards(dataset: Dataset) -> dg.JobDefinition:
    """The job that repairs shards of a dataset."""

    @dg.op(name=dataset.name(REPAIR_OP), out=dg.Out(dg.Nothing), pool="gpu")
    def repair(context: dg.OpExecutionContext, config: WhatToRepair) -> Iterator[Any]:
        """Make what is missing of the shards: their images, then the scores; nothing that is there is made twice.

        Each shard is recorded and checked the moment it is done, as its asset itself would. One that fails again is
        shown as failed, goes no further, and stops no other.
        """
        assets = _chosen_assets(config.assets, dataset)
        keys = _chosen_shards(config.shards, assets, context.instance, dataset)
        if not keys:
            context.log.info("no shard failed or was left unfinished: nothing to repair")
            yield dg.Output(None)
            return
        context.log.info(f"{len(keys)} shards to repair: {', '.join(keys)}")
        for asset in assets:
            announce_work(context, asset.key, keys)
        failed: dict[str, Exception | str] = {}
        for asset in assets:
            sound = [key for key in keys if key not in failed]
            outcome = yield from make_shards(context, asset.definition, sound, asset.work(context))
            failed |= {**outcome.unsound, **outcome.failed}
        if failed:
            raise shards_failure(failed, len(keys))
        yield dg.Output(None)

    @dg.job(
        name=dataset.name(REPAIR_JOB),
        description="Repair shards: by default all that failed or were left unfinished, in one run with one model "
        "load. Dagster's own backfill splits shards that are not neighbours into as many runs, each of which loads the "
        "model.",
    )
    def job() -> None:
        repair()

    return job


def _chosen_assets(names: Sequence[str], dataset: Dataset) -> list[ShardedAsset]:
    assets = sharded_assets(dataset)
    if unknown := sorted(set(names) - {asset.name for asset in assets}):
        known = ", ".join(asset.name for asset in assets)
        raise RepairError(f"assets: {', '.join(unknown)} cannot be repaired; this recipe's assets of shards: {known}")
    return [asset for asset in assets if not names or asset.name in names]


def _chosen_shards(
    keys: Sequence[str], assets: Sequence[ShardedAsset], instance: dg.DagsterInstance, dataset: Dataset
) -> list[str]:
    """The named shards, else all that failed or were left unfinished in one of the assets; in order."""
    from synthvlm_dagster.attempts.state import State
    from synthvlm_dagster.images.plan import PLAN_TABLE
    from synthvlm_dagster.operations.repair.broken import failed_shards, unfinished_shards

    recipe = dataset.recipe
    if unknown := sorted(set(keys) - set(recipe.shard_keys)):
        first, last = recipe.shard_keys[0], recipe.shard_keys[-1]
        raise RepairError(f"shards: there is no {', '.join(unknown)}; this recipe has {first} to {last}")
    chosen = set(keys)
    if not keys:
        state = State.read(recipe, dataset.storage) if dataset.storage.has_table(PLAN_TABLE) else None
        for asset in assets:
            chosen |= failed_shards(instance, asset.key, dataset)
            chosen |= unfinished_shards(instance, asset, state) if state else set()
    return [key for key in recipe.shard_keys if key in chosen]
