"""What starts on a clock. Every schedule is off until somebody switches it on, in the UI or by `dagster schedule`."""

import dagster as dg

from synthvlm_dagster.operations.refresh import Refresh, make_missing, refresh_dataset
from synthvlm_dagster.recipe import active_recipe

_REFRESH = active_recipe().operations.refresh


@dg.schedule(
    job=refresh_dataset,
    cron_schedule=_REFRESH.cron,
    execution_timezone=_REFRESH.timezone,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Makes again what is no longer what the recipe and the caption files would give: shards whose captions, "
    "generator or scorer changed, wherever they lie, then the dataset. Runs that find nothing to do take seconds.",
)
def refresh_stale_shards(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run of `refresh_dataset`, which finds out itself what is stale."""
    reason = f"{_clock_time(context)}: time to refresh what is stale"
    return dg.RunRequest(run_config=dg.RunConfig(ops={make_missing.name: Refresh(reason=reason)}))


def _clock_time(context: dg.ScheduleEvaluationContext) -> str:
    return context.scheduled_execution_time.strftime("%Y-%m-%d %H:%M %Z")
