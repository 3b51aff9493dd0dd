"""Measure the images of one shard: only those without a score, written in immutable chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from synthvlm_dagster.errors import ImageError, ModelError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.chunks import present_ids, set_damaged_aside, write_chunk
from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.images.present import read_images
from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.storage import Storage

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
}


class ShardScoring(NamedTuple):
    """What `score_shard` did."""

    measured: int
    seconds: float
    """Wall-clock time, with the loading of the model where it fell into this shard."""

    @property
    def images_per_second(self) -> float:
        """Images measured per second; 0 when none were."""
        return self.measured / self.seconds if self.measured else 0.0


def score_shard(
    recipe: Recipe,
    storage: Storage,
    shard: str,
    scorer: ClipScorer,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ShardScoring:
    """Measure every image of a shard that has no score yet.

    A chunk of scores is written for every `generation.images_per_chunk` images, so a kill costs at most that many; a
    shard without images, or with all of them scored, loads no model and writes nothing. A damaged chunk file is renamed
    to `….parquet.corrupt`, and its images are measured again.

    Args:
        recipe: names the generator, the scorer and the batch size.
        storage: the store of images and scores.
        shard: partition key.
        scorer: the CLIP model; shared by the shards of a run.
        on_progress: told done, total and rate every few seconds.

    Raises:
        ImageError: an image cannot be decoded or measured; names the image and its file. The chunks written before it
            stay.
        ModelError: the CLIP model cannot be loaded, or gives NaN.
    """
    table = scores_table(recipe, shard)
    set_damaged_aside(storage, table, lambda message: on_progress(f"scores of shard {shard}: {message}"))
    total = missing_scores(recipe, storage, shard).select(pl.len()).collect().item()
    started = time.monotonic()
    with Progress(f"images of shard {shard} scored", on_progress, total) as progress:
        done = 0
        waiting: list[pl.DataFrame] = []
        for batch in _unscored_batches(recipe, storage, shard):
            waiting.append(_measure(batch, recipe, storage, scorer, shard))
            done += batch.height
            if done == total or sum(frame.height for frame in waiting) >= recipe.generation.images_per_chunk:
                write_chunk(storage, table, pl.concat(waiting))
                waiting = []
            progress.report(done)
        if waiting:
            write_chunk(storage, table, pl.concat(waiting))
    seconds = time.monotonic() - started
    on_progress(f"shard {shard}: scored {done} of {total} images, {done / max(seconds, 1e-6):.1f} images/s")
    return ShardScoring(done, seconds)


def missing_scores(recipe: Recipe, storage: Storage, shard: str) -> pl.LazyFrame:
    """The images of a shard without a score: image_id, caption_id, attempt, text."""
    return _without_score(recipe, storage, shard).select("image_id", "caption_id", "attempt", "text")


def read_scores(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.LazyFrame:
    """Scores of the planned images by the recipe's scorer, of one shard or of all, lazily.

    Scores of images that are no longer in the plan are left out, as in `read_images`.

    Returns:
        One row per image_id, with `SCORES_SCHEMA`; none when nothing is scored yet.

    Raises:
        StorageError: nothing has been planned yet.
    """
    planned = read_plan(recipe, storage, shard).lazy().select("image_id")
    shards = recipe.shard_keys if shard is None else [shard]
    paths = [path for key in shards for path in storage.files(scores_table(recipe, key), ".parquet")]
    if not paths:
        return pl.LazyFrame(schema=SCORES_SCHEMA)
    # Two runs at once may each have measured an image: the same one of the two counts at every reading.
    return storage.scan_files(paths).unique("image_id", keep="first").join(planned, on="image_id", how="semi")


def _without_score(recipe: Recipe, storage: Storage, shard: str) -> pl.LazyFrame:
    scored = read_scores(recipe, storage, shard).select("image_id")
    return read_images(recipe, storage, shard).join(scored, on="image_id", how="anti", maintain_order="left")


def _unscored_batches(recipe: Recipe, storage: Storage, shard: str) -> Iterator[pl.DataFrame]:
    images = _without_score(recipe, storage, shard).select(
        "image_id", "caption_id", "attempt", "text", pl.col("image").struct.field("bytes")
    )
    size = recipe.scoring.batch_size
    for frame in images.collect_batches(chunk_size=size, maintain_order=True):
        yield from frame.iter_slices(size)


def _measure(batch: pl.DataFrame, recipe: Recipe, storage: Storage, scorer: ClipScorer, shard: str) -> pl.DataFrame:
    from synthvlm_dagster.scores.ssim import resize_ssim

    ssim = recipe.scoring.ssim
    images: list[np.ndarray] = []
    similarities: list[float] = []
    for image_id, content in batch.select("image_id", "bytes").iter_rows():
        try:
            images.append(decode_image(content))
        except ImageError as error:
            file = _file_of(image_id, recipe, storage, shard)
            raise ImageError(
                f"{file}: image {image_id} {error}. To make the file's images anew, delete it and materialize "
                f"generated_images for shard {shard}"
            ) from error
        try:
            similarities.append(resize_ssim(images[-1], size=ssim.reduced_size, channels=ssim.channels))
        except ImageError as error:
            raise ImageError(f"image {image_id} of shard {shard}: {error}") from error
    clip_scores = scorer.clip_scores(images, batch["text"].to_list())
    if not np.isfinite(clip_scores).all():
        image_id = batch["image_id"][int(np.argmin(np.isfinite(clip_scores)))]
        raise ModelError(
            f"image {image_id} of shard {shard}: the CLIP model {scorer.clip.model} gives no finite score. Use another "
            f"scoring.clip.dtype than {scorer.clip.dtype}, or check the model's weights"
        )
    return batch.select(
        "image_id",
        "caption_id",
        "attempt",
        pl.lit(shard).alias("shard"),
        "text",
        pl.Series("clip_score", clip_scores, dtype=pl.Float64),
        pl.Series("ssim", similarities, dtype=pl.Float64),
    ).cast(SCORES_SCHEMA)


def _file_of(image_id: str, recipe: Recipe, storage: Storage, shard: str) -> str:
    table = images_table(recipe, shard)
    found = present_ids(storage, storage.files(table, ".parquet"))
    return storage.url(next((path for path, ids in found.items() if image_id in (ids or ())), table))
