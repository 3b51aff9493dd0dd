"""Plan, images and scores of one shard, or of all together: read once, and handed on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import polars as pl

from synthvlm_dagster.attempts.further_attempts import tried_images, waiting, with_further_attempts
from synthvlm_dagster.attempts.plan import plan_before_scores, read_values, weighted
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.plan import recipe_of_plan
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.scores.state import Measurements
from synthvlm_dagster.store.failed_checks import refused_shards
from synthvlm_dagster.store.storage import Storage

OnDamage = Callable[[str], None]


class State:
    """What is planned, what of it is there, and what of that is measured.

    Attributes:
        images: the planned images, with those that the scores ask for.
        measured: their values.
    """

    def __init__(self, images: PlannedImages, measured: Measurements) -> None:
        """
        Args:
            images: planned before any score asks for more.
            measured: of the same shard, or of all.
        """
        self.images = images
        self.measured = measured
        self._before_scores = images.plan
        self.ask()

    @classmethod
    def read(
        cls, recipe: Recipe, storage: Storage, shard: str | None = None, on_damage: OnDamage | None = None
    ) -> State:
        """Read the state of one shard, or of all.

        Args:
            recipe: names generator, scorer, judges and attempts.
            storage: the store.
            shard: partition key; None: all shards.
            on_damage: given where images are to be made or measured: damaged files are quarantined first, and this is
                told. Without, nothing is changed.

        Raises:
            StorageError: nothing has been planned yet, or the store cannot be reached.
        """
        plan = plan_before_scores(recipe, storage, shard)
        images = PlannedImages.read(recipe, storage, plan, shard, on_damage)
        return cls(images, Measurements.read(recipe, storage, shard, on_damage))

    @cached_property
    def attempts(self) -> Attempts:
        """Those that the plan was made for."""
        return recipe_of_plan(self.images.recipe, self.images.storage).attempts

    def ask(self) -> int:
        """Plan what the scores as they are now ask for, of an adaptive recipe; returns how many images that adds."""
        before = self.images.plan.height
        if self.images.recipe.attempts.adaptive:
            scores = weighted(self.measured.values, self.attempts.ssim_weight)
            self.images = self.images.with_plan(
                with_further_attempts(self._before_scores, scores, self.images.given_up, self.attempts)
            )
        return self.images.plan.height - before

    def tried(self) -> pl.DataFrame:
        """The planned images with their weighted scores by the attempts' λ; see `tried_images`."""
        scores = weighted(self.measured.values, self.attempts.ssim_weight)
        return tried_images(self.images.plan, scores, self.images.given_up)

    @property
    def asked_for(self) -> pl.DataFrame:
        """The planned images that scores asked for."""
        return self.images.plan.join(self._before_scores, on="image_id", how="anti", maintain_order="left")

    def waiting(self) -> int:
        """How many of the planned images are still to be made or measured."""
        return self.tried().filter(waiting()).height

    def waits(self) -> bool:
        """Whether a planned image is still to be made or measured."""
        return self.waiting() > 0

    def shards_to_generate(self) -> set[str]:
        """Shards with images to make, or whose check failed."""
        return set(self.images.missing["shard"]) | self._refused(images_table(self.images.recipe))

    def shards_to_score(self) -> set[str]:
        """Shards in which an image lacks its scores, the value of a judge of the recipe, or its embedding; and those
        whose check failed."""
        refused = self._refused(scores_table(self.images.recipe))
        return set(self.measured.unmeasured(self.images)["shard"]) | refused

    def shards_to_extend(self) -> set[str]:
        """Shards in which a planned image waits to be made or measured, before scores can ask for more."""
        return set(self.tried().filter(waiting())["shard"])

    def _refused(self, table: str) -> set[str]:
        return refused_shards(self.images.storage, table)


def planned_images(
    recipe: Recipe, storage: Storage, shard: str | None = None, on_damage: OnDamage | None = None
) -> PlannedImages:
    """What has become of the planned images of one shard, or of all.

    Reads scores only where they say which images are planned. Args and errors as of `State.read`; damaged files of
    scores stay.
    """
    plan = plan_before_scores(recipe, storage, shard)
    images = PlannedImages.read(recipe, storage, plan, shard, on_damage)
    if not recipe.attempts.adaptive:
        return images
    attempts = recipe_of_plan(recipe, storage).attempts
    scores = weighted(read_values(recipe, storage, shard), attempts.ssim_weight)
    return images.with_plan(with_further_attempts(plan, scores, images.given_up, attempts))


def read_images(recipe: Recipe, storage: Storage, shard: str) -> pl.LazyFrame:
    """The planned images of a shard that are present, each once, lazily; columns as `IMAGE_SCHEMA`.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    return planned_images(recipe, storage, shard).scan()
