"""A worker that keeps an eye on its run, so that nothing goes on working on a run that Dagster holds for ended."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_STOP = 60.0

_ENDED_ELSEWHERE = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

_log = logging.getLogger(__name__)


@contextmanager
def watched(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Interrupt this process as Ctrl-C does when its run has been ended, or is to be, and nobody else can tell it.

    A run is cancelled through the code server that started its worker. Where that server was killed, or the run was
    started in a terminal, Dagster's request reaches nobody: after three minutes it records the run as canceled, and
    its pool slot goes to another run while the worker goes on. Likewise when a person has a run marked as canceled at
    once, or it took too long. A process that has not stopped a minute after the interrupt ends at once.

    Args:
        instance: has the run, perhaps not yet.
        run_id: what the body works on.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(instance, run_id, done), name="run-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(instance: dg.DagsterInstance, run_id: str, done: threading.Event) -> None:
    code_server = multiprocessing.parent_process()
    seen_before = False
    while not done.wait(SECONDS_BETWEEN_LOOKS):
        try:
            run = instance.get_run_by_id(run_id)
        # A database that is away for a moment is no reason to stop working; the next look will tell.
        except Exception as error:
            _log.warning(f"could not look at run {run_id}: {error}")
            continue
        if run is None:
            continue
        can_be_told = code_server is not None and code_server.is_alive()
        should_stop = run.status in _ENDED_ELSEWHERE or (
            run.status == dg.DagsterRunStatus.CANCELING and not can_be_told
        )
        # Somebody else may have told this process too, as other launchers do: the first look leaves it time to stop.
        if should_stop and seen_before:
            _stop_this_process(run, done)
            return
        seen_before = should_stop


def _stop_this_process(run: dg.DagsterRun, done: threading.Event) -> None:
    _log.warning(f"run {run.run_id} is {run.status.value}; its process {os.getpid()} stops")
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    if not done.wait(_SECONDS_TO_STOP):
        os._exit(1)
