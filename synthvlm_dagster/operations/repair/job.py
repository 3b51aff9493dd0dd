"""The job that makes shards again, wherever they lie, in one run with one model load."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.repair.broken import failed_shards, unfinished_shards
from synthvlm_dagster.operations.repair.levels import Level, levels_of
from synthvlm_dagster.orchestration.shards import announce_work, make_shards, shards_failure
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage


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


@dg.op(out=dg.Out(dg.Nothing), pool="gpu")
def repair(
    context: dg.OpExecutionContext,
    config: WhatToRepair,
    recipe: dg.ResourceParam[Recipe],
    storage: dg.ResourceParam[Storage],
) -> Iterator[Any]:
    """Make what is missing of the shards: their images, then the scores; nothing that is there is made twice.

    Each shard is recorded and checked the moment it is done, as its asset itself would. One that fails again is shown
    as failed, goes no further, and stops no other.
    """
    levels = _chosen_levels(config.assets, recipe)
    keys = _chosen_shards(config.shards, levels, context.instance, recipe, storage)
    if not keys:
        context.log.info("no shard failed or was left unfinished: nothing to repair")
        yield dg.Output(None)
        return
    context.log.info(f"{len(keys)} shards to repair: {', '.join(keys)}")
    for level in levels:
        announce_work(context, level.asset.key, keys)
    failed: dict[str, Exception | str] = {}
    for level in levels:
        sound = [key for key in keys if key not in failed]
        outcome = yield from make_shards(context, level.asset, sound, level.work(context, recipe, storage))
        failed |= {**outcome.unsound, **outcome.failed}
    if failed:
        raise shards_failure(failed, len(keys))
    yield dg.Output(None)


@dg.job
def repair_shards() -> None:
    """Repair shards: by default all that failed or were left unfinished, in one run with one model load.

    Dagster's own backfill splits shards that are not neighbours into as many runs, each of which loads the model.
    """
    repair()


def _chosen_levels(names: Sequence[str], recipe: Recipe) -> list[Level]:
    levels = levels_of(recipe)
    if unknown := sorted(set(names) - {level.name for level in levels}):
        known = ", ".join(level.name for level in levels)
        raise RepairError(f"assets: {', '.join(unknown)} cannot be repaired; this recipe's assets of shards: {known}")
    return [level for level in levels if not names or level.name in names]


def _chosen_shards(
    keys: Sequence[str], levels: Sequence[Level], instance: dg.DagsterInstance, recipe: Recipe, storage: Storage
) -> list[str]:
    """The named shards, else all that failed or were left unfinished at one of the levels; in order."""
    if unknown := sorted(set(keys) - set(recipe.shard_keys)):
        first, last = recipe.shard_keys[0], recipe.shard_keys[-1]
        raise RepairError(f"shards: there is no {', '.join(unknown)}; this recipe has {first} to {last}")
    chosen = set(keys)
    if not keys:
        for level in levels:
            chosen |= failed_shards(instance, level.asset.key, recipe)
            chosen |= unfinished_shards(instance, level.asset.key, recipe, storage)
    return [key for key in recipe.shard_keys if key in chosen]
