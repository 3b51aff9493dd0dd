"""The assets that are made shard by shard: what each is in Dagster, in the store, and how a shard of it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from synthvlm_dagster.attempts.assets import further_attempts, further_work
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.images.plan import added_attempts_table
from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.operations.outdated import shards_to_extend, shards_to_generate, shards_to_score
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import RunContext, ShardWork
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.scores.naming import scores_table


@dataclass(frozen=True)
class ShardedAsset:
    """An asset with the dataset's shards as partitions."""

    name: str
    definition: dg.AssetsDefinition
    work: Callable[[RunContext], ShardWork]
    """Gives what makes its shards in a run."""
    table: Callable[[Recipe], str]
    """Folder of the store that holds a folder for each shard."""
    shards_with_work: Callable[[dg.DagsterInstance], list[str]]
    """Partition keys of the shards that have work left, in order."""

    @property
    def key(self) -> dg.AssetKey:
        """Key of the asset."""
        return self.definition.key


def sharded_assets(dataset: Dataset) -> list[ShardedAsset]:
    """Those that a dataset has, in the order in which a shard passes through them."""
    assets = [
        ShardedAsset(
            "generated_images",
            generated_images(dataset),
            lambda context: image_work(dataset, context.log),
            images_table,
            lambda instance: shards_to_generate(instance, dataset),
        ),
        ShardedAsset(
            "image_scores",
            image_scores(dataset),
            lambda context: score_work(dataset, context.log),
            scores_table,
            lambda instance: shards_to_score(instance, dataset),
        ),
    ]
    if dataset.recipe.attempts.adaptive:
        assets.append(
            ShardedAsset(
                "further_attempts",
                further_attempts(dataset),
                lambda context: further_work(context, dataset),
                added_attempts_table,
                lambda instance: shards_to_extend(instance, dataset),
            )
        )
    return assets
