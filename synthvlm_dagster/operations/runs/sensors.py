"""The sensor that ends runs whose process is gone."""

import dagster as dg

from synthvlm_dagster.operations.runs.dead_runs import end_dead_runs


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Ends runs whose process was killed, so that they are tried again. Leave it on.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Ends runs whose process was killed, or was lost with a restart of the machine: their pool slots are free again.

    Dagster's default launcher leaves that to the code server that started the worker: when both are killed, the run
    stays STARTED for ever. Asks about the workers of the code server's machine, and about runs started in a terminal
    there. Needed for retries after crashes: leave it on.
    """
    ended = end_dead_runs(context.instance)
    for run, reason in ended:
        context.log.warning(f"run {run.run_id}, {run.status.value}: {reason}")
    return dg.SkipReason(
        f"{len(ended)} runs whose process is gone were ended" if ended else "every run has its process"
    )
