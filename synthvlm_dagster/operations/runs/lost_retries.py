"""Retries that Dagster owes a failed run and did not launch: found, and asked for again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run

LOST_RETRY = "Dagster had not launched the retry of this run; it is asked for again."
"""Message of the event that asks for a retry again."""

_LOOKED_BACK = timedelta(days=1)
_FIRST_PAUSE = 30.0
"""Seconds between a failure and the first time its retry is asked for again, six of Dagster's own looks; each further
pause is twice as long."""
_TIMES_ASKED = 6

_BACKFILL_TAG = "dagster/backfill"
_RETRY_TAG = "dagster/auto_retry_run_id"
_FAILURE_REASON_TAG = "dagster/failure_reason"


def ask_for_lost_retries(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Have Dagster launch the automatic retries that it has lost.

    Its daemon looks at each recorded failure once. A look between the event of a failure and the new state of the run,
    two writes, finds a run that goes on, and passes it by; an error while the retry is launched – a code server that is
    starting, a database that is locked – makes it give up. Either way the run would never be tried again, and a
    backfill would wait for the retry for ever. The failure is therefore recorded once more, at its own time, and the
    daemon looks again; it never launches a second retry of a run. A retry is asked for at most six times in 32 minutes.

    Returns:
        The failed runs whose retry was asked for.
    """
    if not instance.run_retries_enabled:
        return []
    asked_for = []
    recently = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.now(UTC) - _LOOKED_BACK)
    for record in instance.get_run_records(recently):
        run = record.dagster_run
        if not _retry_is_owed(instance, run):
            continue
        asked = len(instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records) - 1
        ended = record.end_time or record.update_timestamp.timestamp()
        if asked < _TIMES_ASKED and time.time() - ended > _FIRST_PAUSE * (2 ** (asked + 1) - 1):
            failure = dg.DagsterEvent(dg.DagsterEventType.RUN_FAILURE.value, run.job_name, message=LOST_RETRY)
            instance.report_dagster_event(failure, run.run_id, timestamp=ended)
            asked_for.append(run)
    return asked_for


def _retry_is_owed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    # A run from a terminal is one that Dagster cannot launch.
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES

    if run.remote_job_origin is None:
        return False
    reason = run.tags.get(_FAILURE_REASON_TAG)
    if not auto_reexecution_should_retry_run(instance, run, RunFailureReason(reason) if reason else None):
        return False
    if backfill_id := run.tags.get(_BACKFILL_TAG):
        backfill = instance.get_backfill(backfill_id)
        if backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES:
            return False
    retries = instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run.run_id}))
    # One that was launched, and deleted by a person since, is not owed again.
    return bool(retries or _RETRY_TAG not in run.tags) and all(
        retry.status == dg.DagsterRunStatus.NOT_STARTED for retry in retries
    )
