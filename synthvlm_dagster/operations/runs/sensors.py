"""The sensor that ends runs whose process is gone."""

import dagster as dg

from synthvlm_dagster.operations.runs.dead_runs import end_dead_runs


@dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=30)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Ends runs whose process was killed, or was lost with a restart of the machine: their pool slots are free again.

    Works on the machine of the code server, and also for runs that were starting or being cancelled, about which
    Dagster's run monitoring never asks the run launcher.
    """
    ended = end_dead_runs(context.instance)
    for run, reason in ended:
        context.log.warning(f"run {run.run_id}, {run.status.value}: {reason}")
    return dg.SkipReason(
        f"{len(ended)} runs whose process is gone were ended" if ended else "every run has its process"
    )
