"""A night leaves nothing to do, and Dagster knows all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.project import unsynced, work_left


@pytest.mark.parametrize("attempts", [{"per_caption": 2}, {"until": 0.9, "max": 3}])
def test_after_a_night_everything_is_in_sync(begin_history: Callable[[], History], attempts: dict[str, float]) -> None:
    history = begin_history()
    project = history.project
    project.world.set("attempts", attempts)
    history.run()
    images = len(list((project.storage / "images").rglob("*.parquet")))
    assert project.night(bar=1.3, max_attempts=5, max_images=6)
    assert len(list((project.storage / "images").rglob("*.parquet"))) > images
    assert work_left(project.recipe, project.instance) == {}
    assert unsynced(project.recipe, project.instance) == {}
    project.close()
