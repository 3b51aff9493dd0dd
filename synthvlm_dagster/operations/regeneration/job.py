"""The job that gives weak captions another try: new images and scores, then the dataset, then the night's report.

One run does it all. It adds attempts to the plan shard by shard, as the budget allows, and records each shard in
Dagster as the shard's own asset would; then it has the assets behind the scores made again by runs of their own, in
order, as `refresh_dataset` does. So it knows when the last score is there, and what the night brought; a chain of asset
jobs and run status sensors would have to pass that on, waits for a look of the daemon at every link, and stands still
when one of its sensors is off.
"""

# Without `from __future__ import annotations`: Dagster reads the annotations of ops.

from collections.abc import Generator, Iterator
from typing import Any, cast

import dagster as dg
import polars as pl
from pydantic import Field, create_model

from synthvlm_dagster.attempts.further_attempts import waiting
from synthvlm_dagster.attempts.nights import nights_attempts_table
from synthvlm_dagster.attempts.order import weakest_and_cheapest
from synthvlm_dagster.attempts.plan import read_tried
from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.dataset.coverage import complete_scores
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.operations.notifications.webhook import notify
from synthvlm_dagster.operations.refresh import REFRESH_POOL, make_everything_missing
from synthvlm_dagster.operations.regeneration.night import (
    NIGHTS,
    Limits,
    Night,
    add_to_night,
    attempts_of_nights,
    new_night,
    open_night,
    save_night,
)
from synthvlm_dagster.operations.regeneration.report import NightReport, report_night
from synthvlm_dagster.operations.run import Pipeline
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import (
    Event,
    ShardWork,
    announce_work,
    make_shards,
    recorded_work,
    shards_failure,
)
from synthvlm_dagster.recipe import Recipe, Regeneration
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.scores.naming import scorer_name
from synthvlm_dagster.store.chunks import set_damaged_aside

_CHUNKS_AT_A_TIME = 4
"""Chunks of images after which the time is looked at: estimates may be wrong."""

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
        recipe, storage = dataset.recipe, dataset.storage
        limits = Limits(**cast("dg.Config", config).model_dump())
        set_damaged_aside(storage, nights_attempts_table(recipe), context.log.warning)
        work = _NightWork(context, dataset, limits)
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
        pipeline = Pipeline(context.repository_def, context.instance, dataset)
        make_everything_missing(context, pipeline, pipeline.behind_the_shards())

    @dg.op(
        name=dataset.name("tell_what_the_night_brought"),
        ins={"refreshed": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=REFRESH_POOL,
    )
    def tell_what_the_night_brought(context: dg.OpExecutionContext) -> Iterator[Any]:
        """Report the night: in this run, among the observations of `selected_pairs`, in the store, to the webhook."""
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


def bar_weight(recipe: Recipe) -> float:
    """λ of the weighted score that the bar is compared with."""
    return recipe.attempts.ssim_weight if recipe.attempts.adaptive else recipe.selection.ssim_weight


class _NightWork:
    """What a night does to images and scores, on one load of the models, and the record it keeps."""

    def __init__(self, context: dg.OpExecutionContext, dataset: Dataset, limits: Limits) -> None:
        recipe, storage = dataset.recipe, dataset.storage
        self._context = context
        self._dataset = dataset
        self._recipe = recipe
        self._storage = storage
        self._limits = limits
        read = ShardReader(recipe, lambda: storage)
        self._images = generated_images(dataset, read.images)
        self._work: list[tuple[dg.AssetsDefinition, ShardWork, str]] = [
            (self._images, image_work(dataset, read.images, context.log), "images_made_now"),
            (image_scores(dataset, read.scores), score_work(dataset, read.scores, context.log), "images_scored_now"),
        ]
        self._seconds_per_image = _recorded_seconds_per_image(context.instance, dataset)
        self.night = open_night(recipe, storage)
        self._added = self._unmade = 0
        if self.night:
            self.night = self.night.model_copy(update={"limits": limits})
            self._added = self._attempts_of(self.night).height
            self._unmade = self._count_unmade(self.night)

    def finish_what_was_begun(self) -> Iterator[Event]:
        """Make and measure what an earlier run of the night, killed since, has planned and not finished."""
        if self.night is None:
            return
        self._account_for_lost_time(self.night)
        tried, planned = self._tried(), attempts_of_nights(self._recipe, self._storage)["image_id"]
        mine = pl.col("image_id").is_in(planned.implode())
        waits = tried.filter(waiting()).group_by("shard").agg(mine.all()).filter("image_id")["shard"].sort()
        self._context.log.info(f"the night of {self.night.name} goes on; {len(waits)} shards were left unfinished")
        self._announce_dataset()
        for shard in waits:
            yield from self._make(shard)
        self._unmade = self._count_unmade(self.night)

    def spend(self) -> Iterator[Event]:
        """Add attempts, and make and measure them, until nothing is left to try or to spend."""
        while True:
            limits = self._limits
            wanted = weakest_and_cheapest(
                self._tried(), limits.bar, limits.max_attempts, self._recipe.generation.retries
            ).head(self._affordable())
            if wanted.is_empty():
                return
            if self.night is None:
                self.night = new_night(self._recipe, self._storage, limits)
                save_night(self._storage, self.night)
                self._announce_dataset()
            self._context.log.info(f"{wanted.height} captions under the bar get another image")
            size = _CHUNKS_AT_A_TIME * self._recipe.generation.images_per_chunk
            for of_shard in wanted.partition_by("shard", maintain_order=True):
                for slice_of_shard in of_shard.iter_slices(size):
                    now = slice_of_shard.head(self._affordable())
                    if now.is_empty():
                        return
                    shard = now["shard"][0]
                    add_to_night(self._recipe, self._storage, self.night, shard, now)
                    self._added += now.height
                    yield from self._make(shard)

    def _make(self, shard: str) -> Generator[Event, None, None]:
        """Make and measure what is missing of a shard; the record is written when both are done."""
        assert self.night
        for asset, _, _ in self._work:
            announce_work(self._context, asset.key, [shard])
        for asset, work, count in self._work:
            outcome = yield from make_shards(self._context, asset, [shard], work)
            if outcome.failed or outcome.unsound:
                raise shards_failure({**outcome.failed, **outcome.unsound}, 1)
            facts = outcome.made[shard].metadata
            self.night = self.night.worked(
                facts[count] if asset is self._images else 0,
                facts["seconds"],
                facts.get("model_load_seconds", 0.0),
                on_gpu="gpu_seconds" in facts,
            )
        save_night(self._storage, self.night)

    def _announce_dataset(self) -> None:
        """Keep declarative automation from making the dataset again after every shard: this run will, at its end."""
        context = self._context
        for key in Pipeline(context.repository_def, context.instance, self._dataset).behind_the_shards():
            announce_work(context, key, [None])

    def _affordable(self) -> int:
        """How many images the night may add now."""
        night = self.night or new_night(self._recipe, self._storage, self._limits)
        rate = night.seconds_per_image or self._seconds_per_image
        chunk = self._recipe.generation.images_per_chunk
        return night.affordable(self._added, self._added - self._unmade, rate, chunk)

    def _account_for_lost_time(self, night: Night) -> None:
        """Put what a killed run has made and not recorded to the night's account, at the usual time for an image."""
        present = planned_images(self._recipe, self._storage).present
        lost = present.join(self._attempts_of(night), on="image_id", how="semi").height - night.images_timed
        if lost > 0:
            rate = night.seconds_per_image or self._seconds_per_image or 0.0
            self.night = night.worked(lost, lost * rate, 0.0, on_gpu=night.on_gpu)

    def _count_unmade(self, night: Night) -> int:
        return self._tried().filter(waiting()).join(self._attempts_of(night), on="image_id", how="semi").height

    def _attempts_of(self, night: Night) -> pl.DataFrame:
        return attempts_of_nights(self._recipe, self._storage).filter(pl.col("night") == night.name)

    def _tried(self) -> pl.DataFrame:
        return read_tried(self._recipe, self._storage, ssim_weight=bar_weight(self._recipe))


def _recorded_seconds_per_image(instance: dg.DagsterInstance, dataset: Dataset) -> float | None:
    """What drawing and measuring an image took in the shards that are recorded; None where nothing is."""
    drawn = recorded_work(
        instance, dataset.key("generated_images"), "images_made_now", generator=generator_name(dataset.recipe)
    )
    measured = recorded_work(
        instance, dataset.key("image_scores"), "images_scored_now", scorer=scorer_name(dataset.recipe)
    )
    if not drawn.images:
        return None
    return drawn.seconds / drawn.images + (measured.seconds / measured.images if measured.images else 0.0)


def _metadata(report: NightReport) -> dict[str, Any]:
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
