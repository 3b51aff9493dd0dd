"""A blocking check that failed holds in every later run, until it passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synthvlm_dagster.dataset import integrity
from synthvlm_dagster.dataset.made_from import Origins, recorded_pairs
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images import inspection
from synthvlm_dagster.scores import inspection as inspection_of_scores
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.project import Project, work_left


def all_flat(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(inspection, "image_problem", lambda _: "flat")


def impossible_scores(patched: pytest.MonkeyPatch) -> None:
    real = inspection_of_scores.inspect_scores

    def inspect(*given: Any) -> Any:
        return real(*given)._replace(impossible=("12-00",))

    patched.setattr(inspection_of_scores, "inspect_scores", inspect)


def unlike_the_recipe(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(integrity, "selection_faults", lambda *_: ["2 pairs instead of 3"])


def gone(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(integrity, "absent_images", lambda *_: ["12-00"])


def unreachable(patched: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise StorageError("the store is out of reach")

    patched.setattr(integrity, "absent_images", fail)


@pytest.mark.parametrize(
    ("fail", "asset", "told", "before"),
    [
        (all_flat, "generated_images", None, ("scores", "dataset")),
        (impossible_scores, "image_scores", None, ("dataset",)),
        (unlike_the_recipe, "selected_pairs", "exactly_k_unique_pairs failed: 2 pairs", ("dataset/llava",)),
        (gone, "selected_pairs", "selected_images_open failed: 1 selected images are not", ("dataset/llava",)),
        (unreachable, "selected_pairs", "could not be asked to its end", ("dataset/llava",)),
    ],
)
def test_a_failed_check_holds_until_it_passes(
    begin_history: Callable[[], History],
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch], None],
    asset: str,
    told: str | None,
    before: tuple[str, ...],
) -> None:
    history = begin_history()
    project = history.project
    with monkeypatch.context() as patched:
        fail(patched)
        for _ in range(3):
            assert not project.run().succeeded
            left = work_left(project.recipe, project.instance)[asset]
            assert left == ["0000", "0001"] if told is None else told in str(left)
            assert [place for place in before if (project.storage / place).exists()] == []
    assert history.run().succeeded
    assert not [path for path in (project.storage / "failed_checks").rglob("*") if path.is_file()]
    project.close()


def test_no_caption_left_holds_until_there_is_one(begin_history: Callable[[], History]) -> None:
    history = begin_history()
    project = history.project
    project.world.set("curation.rules.num_words", {"min": 99})
    for _ in range(3):
        assert not project.run().succeeded
        reason = Origins(project.recipe, Storage(project.recipe.storage)).why_outdated("curated_captions")
        assert reason is not None
        assert "its check captions_are_left failed: No caption is left" in reason
    project.world.set("curation.rules.num_words", {"min": 3})
    assert history.run().succeeded
    project.close()


def test_a_plan_of_nothing_holds_where_its_asset_is_made_by_itself(begin_history: Callable[[], History]) -> None:
    project: Project = begin_history().project
    project.world.set("curation.rules.num_words", {"min": 99})
    project.run_some("key:raw_captions or key:curated_captions")
    project.run_some("key:planned_attempts")
    for _ in range(2):
        left = work_left(project.recipe, project.instance)
        assert "its check something_to_make failed" in left["planned_attempts"]
        project.run_some("key:planned_attempts")
    project.close()


def test_nothing_is_made_of_pairs_that_a_check_refused(
    begin_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = begin_history().project
    with monkeypatch.context() as patched:
        gone(patched)
        assert not project.run().succeeded
    storage = Storage(project.recipe.storage)
    with (
        pytest.raises(StorageError, match=r"selected_images_open failed.*Run `synthvlm run`"),
        recorded_pairs("llava_dataset", project.recipe, storage),
    ):
        pytest.fail("is written")
    project.close()
