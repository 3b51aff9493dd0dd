"""Reading one shard's state after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from synthvlm_dagster.recipe import Recipe

if TYPE_CHECKING:
    from synthvlm_dagster.attempts.state import OnDamage, State
    from synthvlm_dagster.images.state import PlannedImages
    from synthvlm_dagster.scores.state import Measurements
    from synthvlm_dagster.store.storage import Storage


class ShardReader:
    """Reads the state of one shard after the other, for the assets that make and check them.

    Args:
        recipe: names generator, scorer, judges and attempts.
        storage: opens the store, when the first shard is read.
    """

    def __init__(self, recipe: Recipe, storage: Callable[[], Storage]) -> None:
        self._recipe = recipe
        self._storage = storage

    def images(self, shard: str, on_damage: OnDamage | None = None) -> PlannedImages:
        """What is planned and present; see `planned_images`."""
        from synthvlm_dagster.attempts.state import planned_images

        return planned_images(self._recipe, self._storage(), shard, on_damage)

    def scores(self, shard: str, on_damage: OnDamage | None = None) -> tuple[PlannedImages, Measurements]:
        """What is planned and present, and what of it is measured; damaged files of images stay."""
        from synthvlm_dagster.attempts.plan import plan_before_scores
        from synthvlm_dagster.attempts.state import State
        from synthvlm_dagster.images.state import PlannedImages
        from synthvlm_dagster.scores.state import Measurements

        storage = self._storage()
        images = PlannedImages.read(self._recipe, storage, plan_before_scores(self._recipe, storage, shard), shard)
        state = State(images, Measurements.read(self._recipe, storage, shard, on_damage))
        return state.images, state.measured

    def state(self, shard: str, on_damage: OnDamage | None = None) -> State:
        """All of it; damaged files of images are quarantined, too."""
        from synthvlm_dagster.attempts.state import State

        return State.read(self._recipe, self._storage(), shard, on_damage)
