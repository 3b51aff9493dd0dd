"""The partitioned assets, in the order in which a shard passes through them, and how a shard of each is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import dagster as dg

from synthvlm_dagster.attempts.assets import further_attempts, further_work
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.orchestration.shards import RunContext, ShardWork
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.store.storage import Storage


class Level(NamedTuple):
    """A partitioned asset."""

    asset: dg.AssetsDefinition
    work: Callable[[RunContext, Recipe, Storage], ShardWork]
    """Gives what makes its shards in a run."""

    @property
    def name(self) -> str:
        """The asset's key as people write it."""
        return self.asset.key.to_user_string()


def levels_of(recipe: Recipe) -> list[Level]:
    """The partitioned assets that a recipe has, upstream first."""
    levels = [
        Level(generated_images, lambda context, recipe, storage: image_work(recipe, storage, context.log)),
        Level(image_scores, lambda context, recipe, storage: score_work(recipe, storage, context.log)),
    ]
    return [*levels, Level(further_attempts, further_work)] if recipe.attempts.adaptive else levels
