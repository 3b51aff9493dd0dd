"""What a night does to images and scores: attempts added to the plan, made and measured, within a budget."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import dagster as dg
import polars as pl

from synthvlm_dagster.attempts.further_attempts import waiting
from synthvlm_dagster.attempts.order import weakest_and_cheapest
from synthvlm_dagster.attempts.plan import read_tried
from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.operations.regeneration.night import (
    Limits,
    Night,
    add_to_night,
    attempts_of_nights,
    new_night,
    open_night,
    save_night,
)
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
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.scores.naming import scorer_name

_CHUNKS_AT_A_TIME = 4
"""Chunks of images after which the time is looked at: estimates may be wrong."""


def bar_weight(recipe: Recipe) -> float:
    """λ of the weighted score that the bar is compared with."""
    return recipe.attempts.ssim_weight if recipe.attempts.adaptive else recipe.selection.ssim_weight


class NightWork:
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
