"""What starts on a clock. Every schedule is off until somebody switches it on, in the UI or by `dagster schedule`."""

import dagster as dg

from synthvlm_dagster.operations.refresh import Refresh, make_missing, refresh_dataset
from synthvlm_dagster.operations.regeneration.job import (
    BAR,
    NightLimits,
    regenerate_weak_pairs,
    try_weak_captions_again,
)
from synthvlm_dagster.recipe import active_recipe

_NIGHTS = active_recipe().operations.regeneration
_REFRESH = active_recipe().operations.refresh


@dg.schedule(
    job=regenerate_weak_pairs,
    name=regenerate_weak_pairs.name,
    cron_schedule=_NIGHTS.cron,
    execution_timezone=_NIGHTS.timezone,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Another image for captions whose best one is under the quality bar, within the recipe's budget for a "
    "night; then the dataset is made again, and the night reports what it improved and what it cost.",
)
def regenerate_at_night(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run of `regenerate_weak_pairs`, with the limits of the recipe."""
    # Written out, so that the run shows what it was allowed.
    return dg.RunRequest(run_config=dg.RunConfig(ops={try_weak_captions_again.name: NightLimits()}))


@dg.schedule(
    job=refresh_dataset,
    cron_schedule=_REFRESH.cron,
    execution_timezone=_REFRESH.timezone,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Makes again what the recipe and the caption files would now give otherwise: shards whose captions, "
    "generator or scorer changed, wherever they lie, then the dataset. Runs that find nothing to do take seconds.",
)
def refresh_stale_shards(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run of `refresh_dataset`, which finds out itself what is stale."""
    reason = f"{_clock_time(context)}: time to refresh what is stale"
    return dg.RunRequest(run_config=dg.RunConfig(ops={make_missing.name: Refresh(reason=reason)}))


def _clock_time(context: dg.ScheduleEvaluationContext) -> str:
    return context.scheduled_execution_time.strftime("%Y-%m-%d %H:%M %Z")


SCHEDULES = [refresh_stale_shards, *([regenerate_at_night] if BAR else [])]
"""Those that the recipe can have."""
