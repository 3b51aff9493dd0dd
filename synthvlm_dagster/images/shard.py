"""One shard of images: what is planned, what is present, and making the difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl

from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.images.table import (
    IMAGE_SCHEMA,
    encode_image,
    image_rows,
    image_seeds,
    images_table,
    present_ids,
    write_images,
)
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.storage import Storage

if TYPE_CHECKING:
    from PIL.Image import Image


class Generator(Protocol):
    """What draws images."""

    def load(self) -> float:
        """Get ready, if it is not; returns the seconds that it took."""

    def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """One RGB image per text, its noise drawn from the seed at the same place."""


@dataclass(frozen=True)
class ShardSummary:
    """What `generate_shard` found and did."""

    shard: str
    table: str
    planned: int
    made: int
    seconds: float
    """Wall-clock time from the first noise to the last file; 0 when nothing was missing."""
    load_seconds: float
    """Time that loading the model took before that; 0 when it was loaded or not needed."""
    set_aside: tuple[str, ...]
    """New paths of chunk files that could not be read."""

    @property
    def images_per_second(self) -> float:
        """Images made per second; 0 when none were."""
        return self.made / self.seconds if self.made else 0.0


def generate_shard(
    recipe: Recipe,
    storage: Storage,
    shard: str,
    generator: Generator,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ShardSummary:
    """Make the images of a shard that are planned and not present, in chunks that each appear whole.

    Killed at any moment, it loses the chunk in work (`recipe.generation.images_per_chunk` images) and nothing else;
    called for a complete shard, it asks the generator for nothing. A chunk file that cannot be read is renamed to
    `….parquet.corrupt`, and its images are made again.

    Args:
        recipe: what to draw with.
        storage: holds the plan; gets the images.
        shard: a partition key of the recipe.
        generator: shared by all shards of a run, so that its model is loaded once.
        on_progress: gets a sentence every ten seconds, and one for whatever is out of order.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be read or written; finished chunks stay.
        ModelError: the generator's model cannot be loaded.
        RecipeError: the model does not fit the recipe's other settings.
    """
    generation = recipe.generation
    table = images_table(recipe, shard)
    chunks = present_ids(storage, storage.files(table, ".parquet"))
    set_aside = tuple(storage.set_aside(path) for path, ids in chunks.items() if ids is None)
    for path in set_aside:
        on_progress(
            f"shard {shard}: a chunk file could not be read and is now {storage.url(path)}; remaking its images"
        )

    planned = read_plan(storage, shard)
    missing = _without(planned, chunks.values())
    if missing.is_empty():
        on_progress(f"shard {shard}: all {planned.height} images are present")
        return ShardSummary(shard, table, planned.height, 0, 0.0, 0.0, set_aside)
    if load_seconds := generator.load():
        on_progress(f"shard {shard}: loaded the model in {load_seconds:.1f} s")

    began = time.monotonic()
    progress = Progress(f"images of shard {shard}", on_progress, missing.height)
    made = 0
    for chunk in missing.iter_slices(generation.images_per_chunk):
        encoded: list[tuple[bytes, int, int]] = []
        for batch in chunk.iter_slices(generation.batch_size):
            images = generator.generate(batch["text"].to_list(), image_seeds(recipe, batch))
            encoded += [encode_image(image, generation) for image in images]
            progress.report(made + len(encoded))
        write_images(storage, table, image_rows(recipe, chunk, encoded))
        made += chunk.height
    summary = ShardSummary(shard, table, planned.height, made, time.monotonic() - began, load_seconds, set_aside)
    on_progress(
        f"shard {shard}: complete with {planned.height} images; {made} made in {summary.seconds:.1f} s, "
        f"{summary.images_per_second:.2f} images/s"
    )
    return summary


def missing_images(recipe: Recipe, storage: Storage, shard: str) -> pl.DataFrame:
    """Rows of the plan (see `read_plan`) whose images are not there, or cannot be read; changes nothing.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    chunks = present_ids(storage, storage.files(images_table(recipe, shard), ".parquet"))
    return _without(read_plan(storage, shard), chunks.values())


def shard_progress(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    """How far each shard is: one row per shard with the columns shard, planned, present, missing (images).

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    plan = read_plan(storage)
    chunks = present_ids(storage, storage.files(f"images/{generator_name(recipe)}", ".parquet"))
    missing = _without(plan, chunks.values())
    shards = pl.DataFrame({"shard": recipe.shard_keys}, schema={"shard": pl.String})
    for name, rows in (("planned", plan), ("missing", missing)):
        counts = rows.group_by("shard").agg(pl.len().cast(pl.Int64).alias(name))
        shards = shards.join(counts, on="shard", how="left", maintain_order="left")
    return shards.with_columns(pl.col("planned", "missing").fill_null(0)).select(
        "shard", "planned", (pl.col("planned") - pl.col("missing")).alias("present"), "missing"
    )


def read_images(recipe: Recipe, storage: Storage, shard: str) -> pl.LazyFrame:
    """The planned images of a shard that are present, each once, lazily; columns as `IMAGE_SCHEMA`.

    An image that stands in two chunks is read from the first. Chunks that cannot be read, and images that are no longer
    in the plan, are left out.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    awaited = set(read_plan(storage, shard)["image_id"])
    chunks = []
    for path, ids in present_ids(storage, storage.files(images_table(recipe, shard), ".parquet")).items():
        wanted = awaited.intersection(ids or ())
        awaited -= wanted
        if wanted:
            rows = storage.scan_files([path])
            chunks.append(rows if len(wanted) == len(ids or ()) else rows.filter(pl.col("image_id").is_in(wanted)))
    return pl.concat(chunks) if chunks else pl.LazyFrame(schema=IMAGE_SCHEMA)


def _without(planned: pl.DataFrame, present: Iterable[list[str] | None]) -> pl.DataFrame:
    made = {name for ids in present for name in ids or ()}
    return planned.filter(~pl.Series([name in made for name in planned["image_id"]], dtype=pl.Boolean))
