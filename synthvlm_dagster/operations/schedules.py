"""What starts on a clock. Every schedule is off until somebody switches it on, in the UI or by `dagster schedule`."""

from collections.abc import Mapping

import dagster as dg

from synthvlm_dagster.operations.refresh import REFRESH_JOB, refresh_config
from synthvlm_dagster.operations.regeneration.job import REGENERATE_JOB, nights_bar, nights_config
from synthvlm_dagster.orchestration.dataset import Dataset


def schedules(dataset: Dataset, jobs: Mapping[str, dg.JobDefinition]) -> list[dg.ScheduleDefinition]:
    """The schedules that a dataset's recipe can have.

    Args:
        dataset: whose recipe says when they start.
        jobs: the dataset's, by name without prefix.
    """
    at_all = [_refresh_stale_shards(dataset, jobs[REFRESH_JOB])]
    # Without a bar nothing says which captions are weak.
    if nights_bar(dataset.recipe) is not None:
        at_all.append(_regenerate_at_night(dataset, jobs[REGENERATE_JOB]))
    return at_all


def _regenerate_at_night(dataset: Dataset, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    clock = dataset.recipe.operations.regeneration

    @dg.schedule(
        job=job,
        name=job.name,
        cron_schedule=clock.cron,
        execution_timezone=clock.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Another image for captions whose best one is under the quality bar, within the recipe's budget "
        "for a night; then the dataset is made again, and the night reports what it improved and what it cost.",
    )
    def schedule(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        # Written out, so that the run shows what it was allowed.
        return dg.RunRequest(run_config=nights_config(dataset))

    return schedule


def _refresh_stale_shards(dataset: Dataset, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    clock = dataset.recipe.operations.refresh

    @dg.schedule(
        job=job,
        name=dataset.name("refresh_stale_shards"),
        cron_schedule=clock.cron,
        execution_timezone=clock.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Makes again what the recipe and the caption files would now give otherwise: shards whose "
        "captions, generator or scorer changed, wherever they lie, then the dataset. Runs that find nothing to do "
        "take seconds.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        reason = f"{_clock_time(context)}: time to refresh what is stale"
        return dg.RunRequest(run_config=refresh_config(dataset, reason))

    return schedule


def _clock_time(context: dg.ScheduleEvaluationContext) -> str:
    return context.scheduled_execution_time.strftime("%Y-%m-%d %H:%M %Z")
