"""The sensors that end runs whose process is gone, and see to it that they are tried again."""

import dagster as dg

from synthvlm_dagster.operations.runs.dead_runs import end_dead_runs
from synthvlm_dagster.operations.runs.lost_retries import ask_for_lost_retries
from synthvlm_dagster.orchestration.dataset import Dataset


def dead_runs(dataset: Dataset) -> dg.SensorDefinition:
    """The sensor that ends runs whose process is gone."""

    @dg.sensor(
        name=dataset.name("dead_runs"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        description="Ends runs whose process was killed, so that they are tried again. Leave it on.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """Ends runs whose process was killed, or lost with a restart of the machine: their pool slots are free again.

        Dagster's default launcher leaves that to the code server that started the worker: when both are killed, the run
        stays STARTED for ever. Asks about the workers of the code server's machine, and about runs started in a
        terminal there. Needed for retries after crashes: leave it on.
        """
        ended = end_dead_runs(context.instance)
        for run, reason in ended:
            context.log.warning(f"run {run.run_id}, {run.status.value}: {reason}")
        return dg.SkipReason(
            f"{len(ended)} runs whose process is gone were ended" if ended else "every run has its process"
        )

    return sensor


def lost_retries(dataset: Dataset) -> dg.SensorDefinition:
    """The sensor that asks again for retries that were not launched."""

    @dg.sensor(
        name=dataset.name("lost_retries"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        description="Asks again for automatic retries that Dagster has not launched. Leave it on.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """Has Dagster launch a retry that it owes a failed run and lost: it tries that once, and can miss the moment.

        Without it such a run is not tried again, and a backfill that it belongs to never ends: leave it on.
        """
        asked_for = ask_for_lost_retries(context.instance)
        for run in asked_for:
            context.log.warning(f"run {run.run_id} was not tried again: its retry is asked for")
        return dg.SkipReason(f"{len(asked_for)} retries were asked for again" if asked_for else "no retry is owed")

    return sensor
