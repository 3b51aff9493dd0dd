"""Blocking checks whose verdict holds in later runs, too: Dagster itself blocks only what the same run would make."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import dagster as dg

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.failed_checks import keep_verdict

if TYPE_CHECKING:
    from synthvlm_dagster.store.storage import Storage

_Result = TypeVar("_Result", dg.AssetCheckResult, dg.AssetCheckEvaluation)


def held(storage: Storage, place: str, check: str, evaluate: Callable[[], _Result]) -> _Result:
    """Ask a blocking check, and keep in the store whether it failed; see `keep_verdict`.

    Args:
        storage: the store.
        place: where what it looks at stands.
        check: its name.
        evaluate: gives its result; what it raises counts as a failure and is raised on.
    """
    try:
        result = evaluate()
    except Exception as error:
        # A store that cannot be reached keeps nothing; what went wrong first is what is told.
        with suppress(StorageError):
            keep_verdict(storage, place, check, f"it could not be asked to its end: {error}")
        raise
    failed = not result.passed and result.severity is dg.AssetCheckSeverity.ERROR
    keep_verdict(storage, place, check, (result.description or "no reason is known") if failed else None)
    return result
