"""One `synthvlm run` at a time on a Dagster home, and no ghosts of those that were killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.runs.dead_runs import end_dead_runs

LOCK_FILE = "synthvlm-run.lock"


class AnotherRunError(SynthVLMError):
    """Another `synthvlm run` is at work on the same Dagster home."""


@contextmanager
def terminal_lock(home: Path, instance: dg.DagsterInstance) -> Iterator[None]:
    """Hold the home's lock, and record as failed what an earlier holder left behind when it was killed.

    The operating system frees the lock of a killed process. Its runs Dagster shows as started: it never heard of
    their end.

    Args:
        home: the Dagster home.
        instance: the instance of that home.

    Raises:
        AnotherRunError: the lock is held.
    """
    try:
        with FileLock(home / LOCK_FILE, timeout=0):
            end_dead_runs(instance)
            yield
    except Timeout as error:
        raise AnotherRunError(
            f"another synthvlm run is at work on {home}. Wait for its end, or stop it; nothing was changed"
        ) from error
