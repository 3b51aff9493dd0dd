"""Dagster's run launcher, which besides notes on which machine a run was launched."""

from __future__ import annotations

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation

from synthvlm_dagster.operations.runs.tags import launcher_tag

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class HostRecordingRunLauncher(dg.DefaultRunLauncher):
    """Launches runs as the default launcher does, and lets those be found whose worker died before it said who it is.

    It does not answer Dagster's run monitoring, which could ask it about dead workers. Run monitoring asks about runs
    that are STARTED alone, and fails a run also while the code server is away, as it is after a power cut: Dagster
    then cannot launch the run again, and never tries a second time. The sensor `dead_runs` needs the code server, and
    so comes at the right moment; it knows the machine of the workers, too.
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
            return super().terminate(run_id)  # type: ignore[no-untyped-call]  # Dagster has no types there
        except DagsterUserCodeUnreachableError:
            run = self._instance.get_run_by_id(run_id)
            self._instance.report_engine_event(
                "The code server that started this run is gone. Its worker looks every few seconds whether it should "
                "stop, and will.",
                run,
            )
            return True
