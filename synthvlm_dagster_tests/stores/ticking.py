"""A code location whose sensor asks for a run for each file in $MARKS."""

import os
from pathlib import Path

import dagster as dg


@dg.op
def note(context: dg.OpExecutionContext) -> None:
    context.log.info("noted")


@dg.job(executor_def=dg.in_process_executor)
def noting() -> None:
    note()


@dg.sensor(job=noting, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def marks(context: dg.SensorEvaluationContext):
    """The cursor is the newest file that was seen."""
    for mark in sorted(Path(os.environ["MARKS"]).iterdir()):
        if mark.name > (context.cursor or ""):
            context.update_cursor(mark.name)
            yield dg.RunRequest(run_key=mark.name)


@dg.schedule(job=noting, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.RUNNING)
def minutes():
    return dg.SkipReason("only to be seen")


defs = dg.Definitions(jobs=[noting], sensors=[marks], schedules=[minutes])
