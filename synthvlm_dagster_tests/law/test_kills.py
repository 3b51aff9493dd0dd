"""A run that dies between two files that belong together leaves nothing that a later run takes for whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthvlm_dagster.orchestration import held_checks
from synthvlm_dagster.store.failed_checks import keep_verdict
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.law.edits import CHOICES, Edit, Set
from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.project import work_left

BARE_CAPTIONS = Set("curation.text_template", CHOICES["curation.text_template"].index("{caption}"))
TEMPLATE = Set("curation.text_template", 0)
AUDITED = Set("selection", next(n for n, one in enumerate(CHOICES["selection"]) if one.get("strategy") == "audited"))
HALF = Set("selection", 0)


def die_before(monkeypatch: pytest.MonkeyPatch, place: str) -> list[str]:
    """Let no file below a place of the store appear; tells which did not."""
    real, refused = os.replace, []

    def replace(staged: Any, target: Any) -> None:
        if f"/{place}/" in str(target):
            refused.append(str(target))
            raise RuntimeError(f"killed before {target}")
        real(staged, target)

    monkeypatch.setattr(os, "replace", replace)
    return refused


@pytest.mark.parametrize(
    ("place", "edit", "undo"),
    [
        ("captions/kept_by_template", BARE_CAPTIONS, TEMPLATE),
        ("captions/curated", BARE_CAPTIONS, TEMPLATE),
        ("captions/rejected", BARE_CAPTIONS, TEMPLATE),
        ("dataset/set_aside", AUDITED, HALF),
        ("dataset/selected", AUDITED, HALF),
    ],
)
def test_a_run_that_dies_between_two_files_is_made_good(
    begin_history: Callable[[], History],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    edit: Edit,
    undo: Edit,
) -> None:
    history = begin_history()
    history.run()
    for after in ([undo], []):
        history.happen([edit])
        with monkeypatch.context() as patched:
            refused = die_before(patched, place)
            assert not history.project.run().succeeded
        assert len(refused) == 1
        history.happen(after)
        history.run()
    history.project.close()


@pytest.mark.parametrize(
    ("check", "asset", "made"),
    [
        ("sound_images", "generated_images", "images"),
        ("sound_scores", "image_scores", "scores"),
        ("exactly_k_unique_pairs", "selected_pairs", None),
        ("selected_images_open", "selected_pairs", None),
        ("llava_holds_the_selected_pairs", "llava_dataset", "dataset/llava"),
    ],
)
def test_what_a_killed_run_did_not_come_to_check_is_checked_by_the_next(
    begin_history: Callable[[], History],
    monkeypatch: pytest.MonkeyPatch,
    check: str,
    asset: str,
    made: str | None,
) -> None:
    history = begin_history()
    project = history.project
    with monkeypatch.context() as patched:
        kept = keep_verdicts(patched, but=check)
        assert not project.run().succeeded
        assert check not in kept
    reason = f"its check {check} has not been asked since it was made"
    left = work_left(project.recipe, project.instance)[asset]
    assert left == ["0000", "0001"] if asset in ("generated_images", "image_scores") else reason in str(left)
    before = files_below(project.storage / made) if made else {}
    with monkeypatch.context() as patched:
        kept = keep_verdicts(patched)
        assert project.run().succeeded
        assert check in kept
    assert made is None or before == {path: files_below(project.storage / made).get(path) for path in before}
    assert work_left(project.recipe, project.instance) == {}
    project.close()


def keep_verdicts(monkeypatch: pytest.MonkeyPatch, but: str | None = None) -> set[str]:
    """Checks whose verdicts are kept, of all but one, in place of which the run dies."""
    kept = set()

    def keep(storage: Storage, place: str, check: str, failure: str | None) -> None:
        if check == but:
            raise RuntimeError(f"killed before the verdict of {check}")
        kept.add(check)
        keep_verdict(storage, place, check, failure)

    monkeypatch.setattr(held_checks, "keep_verdict", keep)
    return kept


def files_below(folder: Path) -> dict[Path, int]:
    """When each file was written, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
