"""The assets that are made shard by shard: what each is in Dagster, in the store, and how a shard of it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from synthvlm_dagster.attempts.assets import further_attempts, further_work
from synthvlm_dagster.attempts.state import ShardReader, State
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import RunContext, ShardWork
from synthvlm_dagster.scores.assets import image_scores, score_work


@dataclass(frozen=True)
class ShardedAsset:
    """An asset with the dataset's shards as partitions."""

    name: str
    definition: dg.AssetsDefinition
    work: Callable[[RunContext], ShardWork]
    """Gives what makes its shards in a run."""
    begun: Callable[[State], set[str]]
    """Shards that have something of it in the store."""
    unfinished: Callable[[State], set[str]]
    """Shards of which something is still to be made."""

    @property
    def key(self) -> dg.AssetKey:
        """Key of the asset."""
        return self.definition.key

    def shards_with_work(self, instance: dg.DagsterInstance, state: State) -> list[str]:
        """Partition keys of the shards that have work left, or that Dagster has no record of; in order.

        Args:
            instance: knows what is recorded.
            state: of all shards.
        """
        recorded, unfinished = instance.get_materialized_partitions(self.key), self.unfinished(state)
        keys = state.images.recipe.shard_keys
        return [shard for shard in keys if shard not in recorded or shard in unfinished]


def sharded_assets(dataset: Dataset) -> list[ShardedAsset]:
    """Those that a dataset has, in the order in which a shard passes through them."""
    read = ShardReader(dataset.recipe, lambda: dataset.storage)
    assets = [
        ShardedAsset(
            "generated_images",
            generated_images(dataset, read.images),
            lambda context: image_work(dataset, read.images, context.log),
            lambda state: set(state.images.stored["shard"]),
            State.shards_to_generate,
        ),
        ShardedAsset(
            "image_scores",
            image_scores(dataset, read.scores),
            lambda context: score_work(dataset, read.scores, context.log),
            lambda state: set(state.measured.values["shard"]),
            State.shards_to_score,
        ),
    ]
    if dataset.recipe.attempts.adaptive:
        assets.append(
            ShardedAsset(
                "further_attempts",
                further_attempts(dataset),
                lambda context: further_work(context, dataset),
                lambda state: set(state.asked_for["shard"]),
                State.shards_to_extend,
            )
        )
    return assets
