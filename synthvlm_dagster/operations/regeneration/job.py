"""The job that gives weak captions another try: new images and scores, then the dataset, then the night's report.

One run does it all. It adds attempts to the plan shard by shard, as the budget allows, and records each shard in
Dagster as the shard's own asset would; then it has the assets behind the scores made again by runs of their own, in
order, as `refresh_dataset` does. So it knows when the last score is there, and what the night brought; a chain of asset
jobs and run status sensors would have to pass that on, waits for a look of the daemon at every link, and stands still
when one of its sensors is off.
"""

# Annotations are values here: Dagster reads those of ops.

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import Field, create_model

from synthvlm_dagster.operations.notifications.webhook import notify
from synthvlm_dagster.operations.refresh import REFRESH_POOL, make_everything_missing
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe, Regeneration

if TYPE_CHECKING:
    from synthvlm_dagster.operations.regeneration.report import NightReport

REGENERATE_JOB = "regenerate_weak_pairs"
_FIRST_OP = "try_weak_captions_again"


def nights_bar(recipe: Recipe) -> float | None:
    """The weighted score that a caption's best image has to reach; None: whoever launches the job has to say it."""
    return recipe.operations.regeneration.bar or recipe.attempts.until


def nights_config(dataset: Dataset) -> dg.RunConfig:
    """Run configuration of a night within the limits of the recipe."""
    return dg.RunConfig(ops={dataset.name(_FIRST_OP): night_limits(dataset.recipe)()})


def night_limits(recipe: Recipe) -> type[dg.Config]:
    """How good is good enough, and what the night may spend: settings of a run, by default as the recipe says."""
    settings = recipe.operations.regeneration
    bar = nights_bar(recipe)

    def field(name: str, default: Any, **bounds: Any) -> Any:
        return Field(default=default, description=Regeneration.model_fields[name].description, **bounds)

    fields: dict[str, Any] = {
        "bar": (float, field("bar", ... if bar is None else bar, gt=0)),
        "max_attempts": (int, field("max_attempts", settings.max_attempts, ge=2, le=99)),
        "max_images": (int, field("max_images", settings.max_images, ge=1)),
        "max_gpu_hours": (float, field("max_gpu_hours", settings.max_gpu_hours, gt=0)),
    }
    return create_model("NightLimits", __base__=dg.Config, **fields)


def regenerate_weak_pairs(dataset: Dataset) -> dg.JobDefinition:
    """The job that gives weak captions of a dataset another try."""
    limits_of_run = night_limits(dataset.recipe)

    @dg.op(name=dataset.name(_FIRST_OP), out=dg.Out(dg.Nothing, is_required=False), pool="gpu")
    def try_weak_captions_again(
        context: dg.OpExecutionContext,
        config: limits_of_run,  # type: ignore[valid-type]
    ) -> Iterator[Any]:
        """Make another image of captions whose best one is under the bar, weakest and cheapest first, in the budget.

        Round after round, until every caption is over the bar, or has all its attempts, or the budget is spent. A night
        that was killed goes on with what is left of its budget. Nothing follows in this run when there is nothing to
        try.
        """
        from synthvlm_dagster.attempts.nights import nights_attempts_table
        from synthvlm_dagster.dataset.coverage import complete_scores
        from synthvlm_dagster.operations.regeneration.night import Limits
        from synthvlm_dagster.operations.regeneration.work import NightWork
        from synthvlm_dagster.store.chunks import quarantine_damaged

        recipe, storage = dataset.recipe, dataset.storage
        limits = Limits(**cast("dg.Config", config).model_dump())
        quarantine_damaged(storage, nights_attempts_table(recipe), context.log.warning)
        work = NightWork(context, dataset, limits)
        yield from work.finish_what_was_begun()
        # Before any GPU time: without all scores there would be no new selection.
        complete_scores(recipe, storage)
        yield from work.spend()
        if work.night is None:
            context.log.info("no caption under the bar may have another image: nothing to do")
        else:
            yield dg.Output(None)

    @dg.op(
        name=dataset.name("refresh_what_follows"),
        ins={"tried": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=REFRESH_POOL,
    )
    def refresh_what_follows(context: dg.OpExecutionContext) -> None:
        """Select again, export again, report again: every asset behind the scores, by runs of their own."""
        from synthvlm_dagster.operations.run import Pipeline

        pipeline = Pipeline(context.repository_def, context.instance, dataset)
        # The night made images and scores; what else is known of its shards was told of those before.
        pipeline.record_every_shard()
        make_everything_missing(context, pipeline, pipeline.behind_the_shards())

    @dg.op(
        name=dataset.name("tell_what_the_night_brought"),
        ins={"refreshed": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=REFRESH_POOL,
    )
    def tell_what_the_night_brought(context: dg.OpExecutionContext) -> Iterator[Any]:
        """Report the night: in this run, among the observations of `selected_pairs`, in the store, to the webhook."""
        from synthvlm_dagster.attempts.plan import read_tried
        from synthvlm_dagster.operations.regeneration.night import NIGHTS, open_night, save_night
        from synthvlm_dagster.operations.regeneration.report import report_night
        from synthvlm_dagster.operations.regeneration.work import bar_weight

        recipe, storage = dataset.recipe, dataset.storage
        night = open_night(recipe, storage)
        if night is None:
            context.log.info("the night has been reported already")
            yield dg.Output(None)
            return
        report = report_night(recipe, storage, night, read_tried(recipe, storage, ssim_weight=bar_weight(recipe)))
        metadata = _metadata(report)
        context.log.info(f"{report.title}\n{report.text}")
        storage.write_bytes(f"{NIGHTS}/{night.name}.md", report.markdown.encode())
        yield dg.AssetObservation(dataset.key("selected_pairs"), description=report.title, metadata=metadata)
        notify(f"{recipe.name}: {report.title}", report.text, dict(report.lines))
        save_night(storage, night.model_copy(update={"reported": True}))
        yield dg.Output(None, metadata=metadata)

    @dg.job(
        name=dataset.name(REGENERATE_JOB),
        description="Another image for captions whose best one is under the quality bar, within a budget; then scores, "
        "selection, exports and report are brought up to date, and the night tells what it improved and what it cost.",
    )
    def job() -> None:
        tell_what_the_night_brought(refresh_what_follows(try_weak_captions_again()))

    return job


def _metadata(report: "NightReport") -> dict[str, Any]:
    figures = {
        "images_made": report.images,
        "captions_tried_again": report.captions,
        "captions_lifted_over_the_bar": report.lifted,
        "mean_best_score_before": report.mean_best_before,
        "mean_best_score_after": report.mean_best_after,
        "mean_selected_score_before": report.night.mean_selected_before,
        "mean_selected_score_after": report.mean_selected_after,
        "selected_pairs_with_a_new_image": report.new_pairs,
        "captions_still_under_the_bar": report.left,
        "gpu_seconds" if report.night.on_gpu else "seconds": round(report.night.spent_seconds, 1),
        "cost_dollars": report.dollars,
    }
    return {
        "report": dg.MetadataValue.md(report.markdown),
        **{name: value for name, value in figures.items() if value is not None},
    }
