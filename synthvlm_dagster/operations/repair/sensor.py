"""Launches the repair of shards that failed, a few times; then tells a person."""

import json
import time
from datetime import datetime

import dagster as dg

from synthvlm_dagster.operations.notifications.webhook import notify
from synthvlm_dagster.operations.repair.policy import Decision, decide, message, run_key
from synthvlm_dagster.orchestration.dataset import Dataset


def repair_failed_shards(dataset: Dataset, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that launches the job `repair_shards` of a dataset."""

    @dg.sensor(
        name=dataset.name("repair_failed_shards"),
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Repairs shards that failed, after growing pauses, a few times; then tells a person.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Repair shards that failed, after growing pauses (`operations.repair` of the recipe), then tell a person once.

        A shard that a run or a backfill still has to make is left to it. What has been tried is read from Dagster's
        runs; the cursor holds the shards of which a person has been told.
        """
        from synthvlm_dagster.operations.repair.history import (
            AUTOMATIC_TAG,
            read_failed_shards,
            repair_config,
            repair_is_running,
        )

        if repair_is_running(context.instance, dataset):
            return dg.SensorResult(skip_reason=f"a run of {job.name} has not ended yet", cursor=context.cursor)
        assert context.repository_def is not None
        failed = read_failed_shards(context.instance, dataset, context.repository_def.asset_graph)
        settings = dataset.recipe.operations.repair
        decision = decide(failed, settings, time.time())
        told = set(json.loads(context.cursor or "[]"))
        if untold := [one for one in decision.given_up if one.shard not in told]:
            title, text = message(untold, settings.max_attempts)
            context.log.error(f"{title}\n{text}")
            notify(title, text)
        cursor = json.dumps([one.shard for one in decision.given_up])
        if not decision.due:
            return dg.SensorResult(skip_reason=_in_words(decision), cursor=cursor)
        request = dg.RunRequest(
            run_key=run_key(decision.due),
            run_config=repair_config(dataset, [one.shard for one in decision.due]),
            tags={AUTOMATIC_TAG: "true"},
        )
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return sensor


def _in_words(decision: Decision) -> str:
    parts = [
        f"shard {shard} is repaired after {datetime.fromtimestamp(when):%d %b %H:%M:%S}"
        for shard, when in decision.waiting.items()
    ]
    if decision.given_up:
        parts.append("left to a person: " + ", ".join(one.shard for one in decision.given_up))
    return "; ".join(parts) or "no shard that can be repaired has failed"
