"""A run that dies between two files that belong together leaves nothing that a later run takes for whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from synthvlm_dagster_tests.law.edits import CHOICES, Edit, Set
from synthvlm_dagster_tests.law.history import History

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
