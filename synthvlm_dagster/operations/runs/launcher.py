"""Dagster's run launcher, which besides knows whether the worker of a run is alive."""

from __future__ import annotations

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation

from synthvlm_dagster.operations.runs.dead_runs import why_dead
from synthvlm_dagster.operations.runs.tags import launcher_tag

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class WatchingRunLauncher(dg.DefaultRunLauncher):
    """Launches runs as the default launcher does, and tells Dagster's run monitoring when a worker has died.

    The default launcher leaves that to the code server that started the worker. When both are killed – a power cut,
    or an orphaned worker out of memory – the run stays STARTED for ever and keeps its pool slot. `run_monitoring` in
    dagster.yaml asks a launcher that supports it every `poll_interval_seconds`, also right after the daemon's start;
    so it works without any sensor, which a person may switch off, and needs no code location. It asks only about runs
    that are STARTED: for the others, and for code servers on other machines, see the sensor `dead_runs`.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Have the code server start a worker, noting first from which process on which machine."""
        run, workspace = context.dagster_run, context.workspace
        if workspace and run.remote_job_origin:
            name = run.remote_job_origin.repository_origin.code_location_origin.location_name
            location = workspace.get_code_location(name)
            if isinstance(location, GrpcServerCodeLocation) and (
                location.client.socket or location.client.host in _THIS_MACHINE
            ):
                self._instance.add_run_tags(run.run_id, launcher_tag(run.run_id))
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Ask the code server to stop the worker; without that server the worker will see by itself that it should."""
        try:
            return super().terminate(run_id)
        except DagsterUserCodeUnreachableError:
            run = self._instance.get_run_by_id(run_id)
            self._instance.report_engine_event(
                "The code server that started this run is gone. Its worker looks every few seconds whether it should "
                "stop, and will.",
                run,
            )
            return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the worker of a started run is gone; of one that may live, it says that it does."""
        reason = why_dead(self._instance, run)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND if reason else WorkerStatus.RUNNING, reason)
