"""Measure the images of one shard: only what is not measured yet, written in immutable chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.images.present import read_images
from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import JUDGE_SETTINGS, Recipe
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.judge import JudgeModel
from synthvlm_dagster.scores.measuring import EMBEDDINGS, SCORES, Measuring
from synthvlm_dagster.scores.naming import embeddings_table, judge_table, scores_table
from synthvlm_dagster.store.chunks import ids_by_shard, read_columns, set_damaged_aside, shard_of, write_chunk
from synthvlm_dagster.store.storage import Storage

SCORES_SCHEMA = pl.Schema(
    {
        "image_id": pl.String,
        "caption_id": pl.String,
        "attempt": pl.Int32,
        "shard": pl.String,
        "text": pl.String,
        "clip_score": pl.Float64,
        "ssim": pl.Float64,
    }
)
SCORES_COLUMNS = {
    "image_id": "Identity of the image: caption_id and attempt.",
    "caption_id": "Identity of the caption.",
    "attempt": "Which of the caption's images this is, from 0.",
    "shard": "Partition that the caption belongs to.",
    "text": "The caption.",
    "clip_score": "Cosine of image and prefixed caption, clipped at 0: in [0, 1].",
    "ssim": "Similarity of the image with itself after the round trip through the small size: in [-1, 1].",
    **{judge.column: f"Held-out judge: {judge.measures}." for judge in JUDGE_SETTINGS.values()},
}


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


def scores_schema(recipe: Recipe) -> pl.Schema:
    """Columns that `read_scores` gives: `SCORES_SCHEMA` and one Float64 column per judge of the recipe."""
    return pl.Schema({**SCORES_SCHEMA, **dict.fromkeys(recipe.scoring.judges.columns, pl.Float64())})


def score_shard(
    recipe: Recipe,
    storage: Storage,
    shard: str,
    scorer: ClipScorer,
    on_progress: Callable[[str], None] = lambda _: None,
    judges: Mapping[str, JudgeModel] | None = None,
) -> ShardScoring:
    """Measure every image of a shard by everything in the recipe that has not measured it yet.

    Each image is decoded once for all of them. CLIPScore and SSIM, the image's CLIP embedding and each judge have files
    of their own: a judge that is new to the recipe looks at images that are there, and nothing else is measured again.

    A chunk is written for every `generation.images_per_chunk` images, so a kill costs at most that many; a shard
    without images, or with all of them measured, loads no model and writes nothing. A damaged chunk file is renamed to
    `….parquet.corrupt`, and its images are measured again.

    Args:
        recipe: names the generator, the scorer, the judges and the batch size.
        storage: the store of images and scores.
        shard: partition key.
        scorer: the CLIP model; shared by the shards of a run.
        on_progress: told done, total and rate every few seconds.
        judges: those of `recipe.scoring.judges` by name, see `recipe_judges`; shared by the shards of a run.

    Raises:
        ImageError: an image cannot be decoded or measured; names the image and its file. The chunks written before it
            stay.
        ModelError: a model cannot be loaded, or gives NaN.
    """
    judges = judges or {}
    # Embeddings first: an image that has a score has its embedding, also after a kill.
    tables = {EMBEDDINGS: embeddings_table(recipe, shard), SCORES: scores_table(recipe, shard)}
    tables |= {name: judge_table(recipe, name, shard) for name in judges}
    for table in tables.values():
        set_damaged_aside(storage, table, lambda message: on_progress(f"scores of shard {shard}: {message}"))
    images = read_images(recipe, storage, shard)
    ids = images.select("image_id").collect()["image_id"]
    measured = {name: _measured_ids(storage, table) for name, table in tables.items()}
    total = sum(any(image_id not in done for done in measured.values()) for image_id in ids)
    started = time.monotonic()
    if total:
        chunks = _Chunks(storage, tables, recipe.generation.images_per_chunk)
        work = Measuring(recipe, storage, shard, scorer, judges, measured)
        with Progress(f"images of shard {shard} scored", on_progress, total) as progress:
            for done, rows in work.measure(images):
                chunks.add(rows)
                progress.report(done)
            chunks.write()
    seconds = time.monotonic() - started
    on_progress(f"shard {shard}: scored {total} of {total} images, {total / max(seconds, 1e-6):.1f} images/s")
    return ShardScoring(total, seconds)


def missing_scores(recipe: Recipe, storage: Storage, shard: str) -> pl.LazyFrame:
    """The images of a shard that lack a score, or the value of a judge: image_id, caption_id, attempt, text."""
    scores = read_scores(recipe, storage, shard)
    if columns := recipe.scoring.judges.columns:
        scores = scores.filter(pl.all_horizontal(pl.col(columns).is_not_null()))
    images = read_images(recipe, storage, shard).select("image_id", "caption_id", "attempt", "text")
    return images.join(scores.select("image_id"), on="image_id", how="anti", maintain_order="left")


def unmeasured_shards(recipe: Recipe, storage: Storage) -> set[str]:
    """Shards in which an image lacks its scores, the value of a judge of the recipe, or its embedding.

    In the others `score_shard` would find nothing to do. A file that cannot be read counts as not there. Reads the ids
    alone, of all shards together.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """

    def ids(table: str) -> pl.DataFrame:
        return ids_by_shard(storage, storage.files(table, ".parquet"))

    of_image = ["image_id", "shard"]
    images = ids(images_table(recipe)).join(read_plan(recipe, storage), on=of_image, how="semi")
    judges = (judge_table(recipe, judge) for judge in recipe.scoring.judges.configured)
    return {
        shard
        for table in (scores_table(recipe), embeddings_table(recipe), *judges)
        for shard in images.join(ids(table), on=of_image, how="anti")["shard"].unique()
    }


def read_scores(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.LazyFrame:
    """Scores of the planned images by the recipe's scorer and judges, of one shard or of all, lazily.

    Scores of images that are no longer in the plan, or there in another shard, are left out, as in `read_images`.

    Returns:
        One row per image_id that has CLIPScore and SSIM, with the columns of `scores_schema`; a judge's is null where
        it has not looked yet. No row when nothing is scored yet.

    Raises:
        StorageError: nothing has been planned yet.
    """
    planned = read_plan(recipe, storage, shard).lazy().select("image_id", "shard")
    shards = recipe.shard_keys if shard is None else [shard]
    paths = _files(storage, scores_table(recipe), shards)
    if not paths:
        return pl.LazyFrame(schema=scores_schema(recipe))
    # Two runs at once may each have measured an image: the same one of the two counts at every reading.
    scores = storage.scan_files(paths).join(planned, on=["image_id", "shard"], how="semi")
    scores = scores.unique("image_id", keep="first")
    judges = recipe.scoring.judges
    for judge, column in zip(judges.configured, judges.columns, strict=True):
        if found := _files(storage, judge_table(recipe, judge), shards):
            values = storage.scan_files(found).unique("image_id", keep="first")
            scores = scores.join(values, on="image_id", how="left", maintain_order="left")
        else:
            scores = scores.with_columns(pl.lit(None, pl.Float64).alias(column))
    return scores


class _Chunks:
    """Rows of several tables that wait until there are enough of them for a file."""

    def __init__(self, storage: Storage, tables: Mapping[str, str], rows_per_chunk: int) -> None:
        self._storage = storage
        self._tables = tables
        self._rows_per_chunk = rows_per_chunk
        self._waiting: dict[str, list[pl.DataFrame]] = {name: [] for name in tables}

    def add(self, rows: Mapping[str, pl.DataFrame]) -> None:
        for name, frame in rows.items():
            self._waiting[name].append(frame)
        self.write(self._rows_per_chunk)

    def write(self, at_least: int = 1) -> None:
        """Write what waits, of each table of which so many rows wait."""
        for name, frames in self._waiting.items():
            if sum(frame.height for frame in frames) >= at_least:
                write_chunk(self._storage, self._tables[name], pl.concat(frames))
                self._waiting[name] = []


def _measured_ids(storage: Storage, table: str) -> set[str]:
    found = (read_columns(storage, path, ["image_id"]) for path in storage.files(table, ".parquet"))
    return {image_id for rows in found if rows is not None for image_id in rows["image_id"]}


def _files(storage: Storage, folder: str, shards: Sequence[str]) -> list[str]:
    """The files of some shards below the folder in which every shard has its own, in order."""
    if len(shards) == 1:
        return storage.files(f"{folder}/{shards[0]}", ".parquet")
    wanted = set(shards)
    return [path for path in storage.files(folder, ".parquet") if shard_of(path) in wanted]
