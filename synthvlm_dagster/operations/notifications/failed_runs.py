"""What Dagster sees of notifications: the sensor that tells of failed runs."""

import os
from collections.abc import Collection, Set

import dagster as dg

from synthvlm_dagster.operations.failures import failure_in_words
from synthvlm_dagster.operations.names import ASSET_JOB, RANGE_END_TAG, RANGE_START_TAG
from synthvlm_dagster.operations.notifications.webhook import WEBHOOK_VARIABLE, notify
from synthvlm_dagster.operations.runs.lost_retries import LOST_RETRY
from synthvlm_dagster.orchestration.dataset import Dataset

UI_VARIABLE = "SYNTHVLM_UI_URL"
"""Environment variable with the address of the Dagster UI, which messages link to."""

_PARTITION_TAG = "dagster/partition"
_WILL_RETRY_TAG = "dagster/will_retry"


def failed_runs(dataset: Dataset, assets: Set[dg.AssetKey], jobs: Collection[str]) -> dg.SensorDefinition:
    """The sensor that tells of failed runs of a dataset.

    Args:
        dataset: whose runs are told of.
        assets: keys of its assets.
        jobs: names of its jobs.
    """

    # Running from the start: without a webhook it does nothing, and with one nobody has to think of it.
    @dg.run_failure_sensor(
        name=dataset.name("failed_runs"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Posts a message to the webhook of ${WEBHOOK_VARIABLE} for each run that fails, if there is one.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        """Posts a message to the webhook of $SYNTHVLM_WEBHOOK_URL for each run of this dataset that fails.

        It names the assets or the job, the shards, the run and the first lines of its error. Runs that `synthvlm run`
        makes in a terminal are shown there, and those that `refresh_dataset` launches are told of with it.
        """
        if not os.environ.get(WEBHOOK_VARIABLE):
            return dg.SkipReason(f"${WEBHOOK_VARIABLE} is not set: nobody is told")
        run = context.dagster_run
        makes_assets = run.job_name == ASSET_JOB and not assets.isdisjoint(run.asset_selection or assets)
        if run.job_name not in jobs and not makes_assets:
            return dg.SkipReason("this run belongs to something else")
        if context.failure_event.message == LOST_RETRY:
            return dg.SkipReason("this failure has been told of")
        facts = {"recipe": dataset.recipe.name, **describe_run(run)}
        lines = [f"{name}: {value}" for name, value in facts.items()]
        if run.tags.get(_WILL_RETRY_TAG) == "true":
            lines.append("Dagster tries it again.")
        error = failure_in_words(context.instance, run.run_id)
        notify(f"Failed: {facts['what']}", "\n".join([*lines, "", error]).rstrip(), facts)
        return None

    return sensor


def describe_run(run: dg.DagsterRun) -> dict[str, str]:
    """What a run works on, for people: what, shards, run, link; those that there are."""
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    shards = "–".join(
        dict.fromkeys(run.tags[tag] for tag in (_PARTITION_TAG, RANGE_START_TAG, RANGE_END_TAG) if tag in run.tags)
    )
    address = os.environ.get(UI_VARIABLE, "").rstrip("/")
    facts = {
        "what": (assets or "all assets") if run.job_name == ASSET_JOB else run.job_name,
        "shards": shards,
        "run": run.run_id,
        "link": f"{address}/runs/{run.run_id}" if address else "",
    }
    return {name: value for name, value in facts.items() if value}
