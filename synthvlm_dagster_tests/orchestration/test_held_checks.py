"""What a blocking check's verdict leaves in the store."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.orchestration.held_checks import held
from synthvlm_dagster.store.failed_checks import why_refused
from synthvlm_dagster.store.storage import Storage

PLACE = "captions/curated"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def ask(storage: Storage, **result: object) -> dg.AssetCheckResult:
    return held(storage, PLACE, "some_left", lambda: dg.AssetCheckResult(**result))  # type: ignore[arg-type]


def test_an_error_is_kept_and_a_pass_ends_it(storage: Storage) -> None:
    assert not ask(storage, passed=False, description="none is left").passed
    assert why_refused(storage, PLACE) == "its check some_left failed: none is left"
    assert ask(storage, passed=True).passed
    assert why_refused(storage, PLACE) is None


def test_a_warning_refuses_nothing(storage: Storage) -> None:
    ask(storage, passed=False)
    ask(storage, passed=False, severity=dg.AssetCheckSeverity.WARN)
    assert why_refused(storage, PLACE) is None


def test_a_check_that_could_not_be_asked_has_not_passed(storage: Storage) -> None:
    def fail() -> dg.AssetCheckResult:
        raise StorageError("a file is gone")

    with pytest.raises(StorageError, match="a file is gone"):
        held(storage, PLACE, "some_left", fail)
    assert why_refused(storage, PLACE) == "its check some_left failed: it could not be asked to its end: a file is gone"


def test_what_went_wrong_is_told_where_nothing_can_be_kept(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "failed_checks").write_text("a file in the place of the folder")

    def fail() -> dg.AssetCheckResult:
        raise ValueError("what went wrong")

    with pytest.raises(ValueError, match="what went wrong"):
        held(storage, PLACE, "some_left", fail)
