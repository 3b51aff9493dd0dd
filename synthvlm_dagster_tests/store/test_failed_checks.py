"""Verdicts of failed checks, kept in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthvlm_dagster.store.failed_checks import (
    await_verdicts,
    forget_verdicts,
    keep_verdict,
    refused_shards,
    why_refused,
    why_unchecked,
)
from synthvlm_dagster.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def test_a_failure_is_kept_until_its_check_passes(storage: Storage) -> None:
    keep_verdict(storage, "dataset/selected", "one", "2 pairs instead of 3")
    keep_verdict(storage, "dataset/selected", "other", "gone – 1 image")
    keep_verdict(storage, "dataset/selected", "one", None)
    assert why_refused(storage, "dataset/selected") == "its check other failed: gone – 1 image"
    keep_verdict(storage, "dataset/selected", "other", None)
    assert why_refused(storage, "dataset/selected") is None
    assert storage.files("") == []


def test_a_check_that_never_failed_writes_nothing(storage: Storage, tmp_path: Path) -> None:
    keep_verdict(storage, "dataset/selected", "one", None)
    assert list(tmp_path.iterdir()) == []


def test_a_place_has_its_own_verdicts(storage: Storage) -> None:
    keep_verdict(storage, "dataset/selected", "one", "too few")
    assert why_refused(storage, "dataset/select") is None
    assert why_refused(storage, "dataset/selected/more") is None


def test_shards_are_refused_one_by_one(storage: Storage) -> None:
    for shard in ("0001", "0012"):
        keep_verdict(storage, f"images/shapes-1/{shard}", "sound_images", "all flat")
    keep_verdict(storage, "images/shapes-2/0003", "sound_images", "all flat")
    assert refused_shards(storage, "images/shapes-1") == {"0001", "0012"}
    assert refused_shards(storage, "scores/shapes-1") == set()
    forget_verdicts(storage, "images/shapes-1/0001")
    assert refused_shards(storage, "images/shapes-1") == {"0012"}


def test_what_is_not_checked_yet_is_told_apart_from_what_was_refused(storage: Storage) -> None:
    assert why_unchecked(storage, "dataset/llava") is None
    await_verdicts(storage, "dataset/llava", "one", "other")
    assert why_unchecked(storage, "dataset/llava") == "its check one has not been asked since it was made"
    assert why_refused(storage, "dataset/llava") is None
    keep_verdict(storage, "dataset/llava", "other", "too few")
    assert why_unchecked(storage, "dataset/llava") is None
    assert why_refused(storage, "dataset/llava") == "its check other failed: too few"
    for check in ("one", "other"):
        keep_verdict(storage, "dataset/llava", check, None)
    assert why_refused(storage, "dataset/llava") is why_unchecked(storage, "dataset/llava") is None
