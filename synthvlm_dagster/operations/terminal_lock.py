"""One `synthvlm run` at a time on a Dagster home, and no ghosts of those that were killed."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from synthvlm_dagster.errors import SynthVLMError

TERMINAL_TAG = "synthvlm/terminal"
LOCK_FILE = "synthvlm-run.lock"


class AnotherRunError(SynthVLMError):
    """Another `synthvlm run` is at work on the same Dagster home."""


@contextmanager
def terminal_lock(home: Path, instance: dg.DagsterInstance) -> Iterator[dict[str, str]]:
    """Hold the home's lock, and record as failed what an earlier holder left behind when it was killed.

    The operating system frees the lock of a killed process; whoever gets it knows that no run of an earlier holder
    can still be alive, though Dagster shows it as started: it never heard of its end.

    Args:
        home: the Dagster home.
        instance: the instance of that home.

    Yields:
        The tags that a run launched under the lock must carry.

    Raises:
        AnotherRunError: the lock is held.
    """
    tags = {TERMINAL_TAG: f"{platform.node()}:{home}"}
    try:
        with FileLock(home / LOCK_FILE, timeout=0):
            unfinished = dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
                tags=tags,
            )
            for run in instance.get_runs(unfinished):
                instance.report_run_failed(run, "The process of this run was killed. What it had finished is kept.")
            yield tags
    except Timeout as error:
        raise AnotherRunError(
            f"another synthvlm run is at work on {home}. Wait for its end, or stop it; nothing was changed"
        ) from error
