"""The assets that are made shard by shard: what each is in Dagster, in the store, and how a shard of it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from synthvlm_dagster.attempts.assets import further_attempts, further_work
from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.operations.shard_versions import attempts_versions, images_versions, scores_versions
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import RunContext, ShardWork
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.scores.naming import scores_table

if TYPE_CHECKING:
    from synthvlm_dagster.attempts.state import State


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
    versions: Callable[[State], dict[str, str]]
    """Data version of what stands of each shard, by partition key."""
    table: Callable[[Recipe], str]
    """Folder of the store that holds a folder for each shard."""

    @property
    def key(self) -> dg.AssetKey:
        """Key of the asset."""
        return self.definition.key

    def shards_with_work(self, state: State) -> list[str]:
        """Partition keys of the shards that have work left, in order; `state` of all shards."""
        unfinished = self.unfinished(state)
        return [shard for shard in state.images.recipe.shard_keys if shard in unfinished]


def sharded_assets(dataset: Dataset) -> list[ShardedAsset]:
    """Those that a dataset has, in the order in which a shard passes through them."""
    read = ShardReader(dataset.recipe, lambda: dataset.storage)
    assets = [
        ShardedAsset(
            "generated_images",
            generated_images(dataset, read.images),
            lambda context: image_work(dataset, read.images, context.log),
            lambda state: set(state.images.stored["shard"]),
            lambda state: state.shards_to_generate(),
            images_versions,
            images_table,
        ),
        ShardedAsset(
            "image_scores",
            image_scores(dataset, read.scores),
            lambda context: score_work(dataset, read.scores, context.log),
            lambda state: set(state.measured.values["shard"]),
            lambda state: state.shards_to_score(),
            scores_versions,
            scores_table,
        ),
    ]
    if dataset.recipe.attempts.adaptive:
        assets.append(
            ShardedAsset(
                "further_attempts",
                further_attempts(dataset),
                lambda context: further_work(context, dataset),
                lambda state: set(state.asked_for["shard"]),
                lambda state: state.shards_to_extend(),
                attempts_versions,
                scores_table,
            )
        )
    return assets
