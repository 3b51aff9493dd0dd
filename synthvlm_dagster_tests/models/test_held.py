"""Models in memory whose files become others."""

from __future__ import annotations

import pytest

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.models.held import HeldModels, require_unchanged


def test_what_stays_as_it_is_passes() -> None:
    held = HeldModels()
    for _ in range(3):
        held.require("org/model", "first", "first")


def test_what_changed_while_it_was_loaded_is_refused_from_then_on() -> None:
    held = HeldModels()
    with pytest.raises(ModelError, match=r"org/model: its files have been changed .* Run again"):
        held.require("org/model", "first", "again")
    with pytest.raises(ModelError, match="its files have been changed"):
        held.require("org/model", "again", "again")


def test_what_changed_after_it_was_loaded_makes_no_other_shard() -> None:
    held = HeldModels()
    held.require("org/model", "first", "first")
    with pytest.raises(ModelError, match="its files have been changed"):
        held.require("org/model", "again", "again")
    held.require("org/model", "first", "first")


def test_of_two_models_each_counts() -> None:
    require_unchanged("scoring", {"clip": "a", "judge": "b"}, {"judge": "b", "clip": "a"})
    with pytest.raises(ModelError, match="scoring: its files"):
        require_unchanged("scoring", {"clip": "a", "judge": "b"}, {"clip": "a", "judge": "c"})
