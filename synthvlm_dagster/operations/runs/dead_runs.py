"""Runs that Dagster shows as going on though their process is gone: found, and recorded as ended."""

from __future__ import annotations

import time

import dagster as dg

from synthvlm_dagster.operations.runs.processes import boot, start_of, this_host
from synthvlm_dagster.operations.runs.tags import launcher_of, worker_of

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""States in which a run has, or should have, a process. Each holds a slot of its pool."""

_SECONDS_TO_START = 60.0


def end_dead_runs(instance: dg.DagsterInstance) -> list[tuple[dg.DagsterRun, str]]:
    """Record as ended every unfinished run whose process, on this machine, is gone.

    The run fails, so that Dagster starts it again where `run_retries` allow; a run that was being cancelled is
    canceled. Runs of other machines, and those of which it is not known who works on them, are left alone.

    Returns:
        The runs, as they were before, and what happened to each.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        reason = why_dead(instance, run)
        # A process records its run's end before its own: if the run was going on after its process had ended, no end
        # is to come.
        latest = instance.get_run_by_id(run.run_id) if reason else None
        if reason is None or latest is None or latest.status not in UNFINISHED:
            continue
        if latest.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(latest, reason)
        else:
            instance.report_run_failed(latest, reason)
        ended.append((run, reason))
    return ended


def why_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Why an unfinished run can have no process any more; None when it has one, or may have.

    The worker says in a tag who it is, a moment after the run is STARTED. Before that, what is known is the process
    that launched it, on which machine, and the pid in the first event of the worker.
    """
    kept = "What it had finished is kept."
    worker = worker_of(run)
    if worker:
        return f"The process of this run, {worker.pid} of {worker.host}, is gone. {kept}" if worker.is_gone() else None
    launch = launcher_of(run)
    if launch is None or launch[0].host != this_host():
        return None
    launcher, launched_in = launch
    if launched_in != boot():
        return f"{launcher.host} was restarted while this run was on it. {kept}"
    pid = _reported_pid(instance, run.run_id)
    if pid is not None:
        return f"The process of this run, {pid} of {launcher.host}, is gone. {kept}" if start_of(pid) is None else None
    # A worker that starts after all finds its run ended, and does nothing.
    if launcher.is_gone() and time.time() - _launch_time(instance, run.run_id) > _SECONDS_TO_START:
        return f"The process that launched this run, {launcher.pid} of {launcher.host}, is gone, and no worker started."
    return None


def _reported_pid(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The pid in the first engine event that has one: Dagster's worker reports itself before it loads definitions."""
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if isinstance(pid, dg.TextMetadataValue) and pid.text:
            return int(pid.text)
    return None


def _launch_time(instance: dg.DagsterInstance, run_id: str) -> float:
    stats = instance.get_run_stats(run_id)
    return getattr(stats, "launch_time", None) or time.time()
