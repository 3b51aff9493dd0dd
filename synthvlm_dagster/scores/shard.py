"""Measure the images of one shard: only what is not measured yet, written in immutable chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import polars as pl

from synthvlm_dagster.images.damage import damage_set_aside
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.models.held import HeldModels
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.judge import JudgeModel
from synthvlm_dagster.scores.measuring import EMBEDDINGS, SCORES, Measuring
from synthvlm_dagster.scores.state import Measurements, tables_of


class ShardScoring(NamedTuple):
    """What `score_shard` did."""

    measured: int
    """Images that were looked at."""
    seconds: float
    """Wall-clock time, with the loading of the models where it fell into this shard."""

    @property
    def images_per_second(self) -> float:
        """Images measured per second; 0 when none were."""
        return self.measured / self.seconds if self.measured else 0.0


def score_shard(
    images: PlannedImages,
    measured: Measurements,
    scorer: ClipScorer,
    on_progress: Callable[[str], None] = lambda _: None,
    judges: Mapping[str, JudgeModel] | None = None,
    held: HeldModels | None = None,
) -> ShardScoring:
    """Measure every image of a shard by everything in the recipe that has not measured it yet.

    Each image is decoded once for all of them. CLIPScore and SSIM, the image's CLIP embedding and each judge have files
    of their own: a judge that is new to the recipe looks at images that are there, and nothing else is measured again.

    A chunk is written for every `generation.images_per_chunk` images, so a kill costs at most that many; a shard
    without images, or with all of them measured, loads no model and writes nothing.

    Args:
        images: of the shard; its recipe names the batch size.
        measured: what has been measured of the shard's images, read with `on_damage`; knows afterwards what is new.
        scorer: the CLIP model; shared by the shards of a run.
        on_progress: told done, total and rate every few seconds.
        judges: those of `recipe.scoring.judges` by name, see `recipe_judges`; shared by the shards of a run.
        held: shared by all shards that share scorer and judges.

    Raises:
        DamagedImagesError: an image cannot be decoded; names the image and its file, which is set aside. The chunks
            written before it stay.
        ImageError: an image cannot be measured.
        ModelError: a model cannot be loaded, or gives NaN; or the files of one have been changed since it was loaded.
    """
    judges = judges or {}
    names = (EMBEDDINGS, SCORES, *judges)
    total = measured.unmeasured(images, names).height
    started = time.monotonic()
    if total:
        chunks = _Chunks(measured, images.recipe.generation.images_per_chunk)
        measuring = Measuring(images, scorer, judges, {name: measured.ids[name] for name in names})
        measuring.load_models()
        (held or HeldModels()).require("scoring", _models(measured.tables), _models(tables_of(images.recipe)))
        with Progress(f"images of shard {images.shard} scored", on_progress, total) as progress:
            with damage_set_aside(images.recipe, images.storage, on_progress):
                for done, rows in measuring.measure():
                    chunks.add(rows)
                    progress.report(done)
            chunks.write()
    seconds = time.monotonic() - started
    on_progress(f"shard {images.shard}: scored {total} of {total} images, {total / max(seconds, 1e-6):.1f} images/s")
    return ShardScoring(total, seconds)


def _models(tables: Mapping[str, str]) -> dict[str, str]:
    """What measures, by the folder of each table below that of the generator."""
    return {name: table.split("/")[2] for name, table in tables.items()}


class _Chunks:
    """Rows of several tables that wait until there are enough of them for a file."""

    def __init__(self, measured: Measurements, rows_per_chunk: int) -> None:
        self._measured = measured
        self._rows_per_chunk = rows_per_chunk
        self._waiting: dict[str, list[pl.DataFrame]] = {name: [] for name in measured.tables}

    def add(self, rows: Mapping[str, pl.DataFrame]) -> None:
        for name, frame in rows.items():
            self._waiting[name].append(frame)
        self.write(self._rows_per_chunk)

    def write(self, at_least: int = 1) -> None:
        """Write what waits, of each table of which so many rows wait."""
        for name, frames in self._waiting.items():
            if sum(frame.height for frame in frames) >= at_least:
                self._measured.write(name, pl.concat(frames))
                self._waiting[name] = []
