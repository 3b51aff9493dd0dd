"""One run that makes whatever is missing, in the order of the pipeline: what sensors and schedules launch.

A Dagster run of assets cannot hold both those with partitions and those without, so this one launches the others, one
after the other in its own process, as `synthvlm run` does. It knows only then which shards have work left, when the
captions before them are curated.
"""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from synthvlm_dagster.operations.failures import failure_in_words
from synthvlm_dagster.orchestration.dataset import Dataset

if TYPE_CHECKING:
    from synthvlm_dagster.operations.run import Pipeline, Step

REFRESH_JOB = "refresh_dataset"
REFRESH_OP = "make_missing"
"""Its op."""
REFRESH_POOL = "refresh"
"""Pool of the jobs that launch others: dagster.yaml lets one run at a time have it, so that no two make the same."""

LAUNCHED_BY_TAG = "synthvlm/launched_by"
"""On the runs that a refresh launches: the id of its own run."""


class Refresh(dg.Config):
    """What a refresh may be told."""

    reason: str = Field("", description="Why the dataset is refreshed; for people, in the log.")


def refresh_dataset(dataset: Dataset) -> dg.JobDefinition:
    """The job that makes everything of a dataset that is missing or outdated."""

    @dg.op(name=dataset.name(REFRESH_OP), pool=REFRESH_POOL)
    def make_missing(context: dg.OpExecutionContext, config: Refresh) -> None:
        """Make everything that is missing or outdated: captions, shards with work left, their scores, the dataset."""
        from synthvlm_dagster.operations.run import Pipeline

        if config.reason:
            context.log.info(config.reason)
        pipeline = Pipeline(context.repository_def, context.instance, dataset)
        if not make_everything_missing(context, pipeline):
            context.log.info("nothing is missing")

    @dg.job(
        name=dataset.name(REFRESH_JOB),
        description="Make everything that is missing or outdated, from the captions to the report.",
    )
    def job() -> None:
        make_missing()

    return job


def refresh_config(dataset: Dataset, reason: str) -> dg.RunConfig:
    """Run configuration of the dataset's `refresh_dataset`, which says why it is launched."""
    return dg.RunConfig(ops={dataset.name(REFRESH_OP): Refresh(reason=reason)})


def make_everything_missing(
    context: dg.OpExecutionContext, pipeline: "Pipeline", selected: set[dg.AssetKey] | None = None
) -> int:
    """Launch a run for each step that has work left, one after the other, in this process.

    Args:
        context: of an op in the pool `REFRESH_POOL`.
        pipeline: on the context's instance.
        selected: assets to look at; None: all.

    Returns:
        How many runs were launched.

    Raises:
        dagster.Failure: a run failed; names it and its error. What was made is kept, what comes after is not begun.
    """
    _record_killed(context.instance)
    launched: list[Step] = []

    def announce(step: "Step") -> None:
        launched.append(step)
        context.log.info(f"{step.in_words}: {step.reason}")

    tags = {LAUNCHED_BY_TAG: context.run_id}
    if not pipeline.run_missing(selected or set(pipeline.asset_keys()), None, tags, announce).succeeded:
        raise dg.Failure(_failures(context.instance, context.run_id), allow_retries=False)
    return len(launched)


def _record_killed(instance: dg.DagsterInstance) -> None:
    """Record as failed what a killed refresh left behind: runs that Dagster shows as started in a process long gone."""
    unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        launcher = instance.get_run_by_id(run.tags[LAUNCHED_BY_TAG]) if LAUNCHED_BY_TAG in run.tags else None
        if launcher is not None and launcher.is_finished:
            instance.report_run_failed(run, "The process of this run was killed. What it had finished is kept.")


def _failures(instance: dg.DagsterInstance, run_id: str) -> str:
    """What failed in the runs that a run launched; those that only ended because it was canceled are canceled too."""
    failed = instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: run_id}, statuses=[dg.DagsterRunStatus.FAILURE]))
    launcher = instance.get_run_by_id(run_id)
    if launcher is not None and launcher.status == dg.DagsterRunStatus.CANCELING:
        for run in failed:
            instance.report_run_canceled(run, "Canceled with the run that launched it. What it had finished is kept.")
        return "canceled"
    return "\n".join(f"run {run.run_id}: {failure_in_words(instance, run.run_id)}" for run in failed)
