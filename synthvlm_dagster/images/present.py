"""Which of the planned images are there, which could not be made, and which are still to be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.images.table import FAILED_SCHEMA, IMAGE_SCHEMA, failed_images_table, images_table
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import ids_by_shard, present_ids, read_columns, shard_of
from synthvlm_dagster.store.storage import UNREADABLE_TABLE, Storage


class PlannedImages(NamedTuple):
    """The plan, each image in one of three places; all have the plan's columns and image_id (see `read_plan`)."""

    present: pl.DataFrame
    failed: pl.DataFrame
    """Tried with every seed that the recipe allows: + retry (of the last), problem."""
    missing: pl.DataFrame
    """+ retry: the number of the next try, 0 for the first."""


def planned_images(recipe: Recipe, storage: Storage, shard: str | None = None) -> PlannedImages:
    """What has become of the planned images of one shard, or of all; changes nothing.

    What stands in the folder of another shard, as after a change of the recipe's `shards`, and a chunk that cannot be
    read count as not there. A recipe that allows more `retries` makes failed images missing.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    plan = read_plan(recipe, storage, shard)
    of_image = ["image_id", "shard"]
    present = ids_by_shard(storage, storage.files(images_table(recipe, shard), ".parquet"))
    rest = plan.join(present, on=of_image, how="anti", maintain_order="left").join(
        _last_tries(storage, failed_images_table(recipe, shard)), on=of_image, how="left", maintain_order="left"
    )
    failed = (pl.col("retry") >= recipe.generation.retries).fill_null(False)
    return PlannedImages(
        plan.join(present, on=of_image, how="semi", maintain_order="left"),
        rest.filter(failed),
        rest.filter(~failed).with_columns(pl.col("retry").add(1).fill_null(0)).drop("problem"),
    )


def shard_progress(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    """How far each shard is: one row per shard with shard, planned, present, failed, missing (numbers of images).

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    shards = pl.DataFrame({"shard": recipe.shard_keys}, schema={"shard": pl.String})
    for name, rows in planned_images(recipe, storage)._asdict().items():
        counts = rows.group_by("shard").agg(pl.len().cast(pl.Int64).alias(name))
        shards = shards.join(counts, on="shard", how="left", maintain_order="left")
    counted = pl.col("present", "failed", "missing").fill_null(0)
    planned = pl.sum_horizontal("present", "failed", "missing").alias("planned")
    return shards.with_columns(counted).select("shard", planned, "present", "failed", "missing")


def image_batches(images: pl.LazyFrame, shard: str, size: int) -> Iterator[pl.DataFrame]:
    """The rows of `read_images`, or of what was made of it, at most `size` at a time, in order.

    Raises:
        StorageError: a chunk of the shard is damaged where its list of images is not.
    """
    try:
        yield from images.collect_batches(chunk_size=size, maintain_order=True)
    except UNREADABLE_TABLE as error:
        raise StorageError(
            f"shard {shard}: a file of its images is damaged: {error}. Materialize generated_images[{shard}] again: it "
            "is found, and what was in it is made again"
        ) from error


def read_images(recipe: Recipe, storage: Storage, shard: str) -> pl.LazyFrame:
    """The planned images of a shard that are present, each once, lazily; columns as `IMAGE_SCHEMA`.

    An image that stands in two chunks is read from the first. Chunks that cannot be read, and images that are no longer
    in the plan, are left out.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    awaited = set(read_plan(recipe, storage, shard)["image_id"])
    chunks = []
    for path, ids in present_ids(storage, storage.files(images_table(recipe, shard), ".parquet")).items():
        wanted = awaited.intersection(ids or ())
        awaited -= wanted
        if wanted:
            rows = _with_later_columns(storage.scan_files([path]))
            chunks.append(rows if len(wanted) == len(ids or ()) else rows.filter(pl.col("image_id").is_in(wanted)))
    return pl.concat(chunks) if chunks else pl.LazyFrame(schema=IMAGE_SCHEMA)


def _with_later_columns(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of any version of the table with the columns of this one."""
    present = rows.collect_schema().names()
    later = {"retry": pl.lit(0, pl.Int32), "prompt_truncated": pl.lit(None, pl.Boolean)}
    return rows.with_columns(**{name: value for name, value in later.items() if name not in present}).select(
        *IMAGE_SCHEMA
    )


def _last_tries(storage: Storage, folder: str) -> pl.DataFrame:
    """The last failed try of each image: image_id, shard (of the file), retry, problem."""
    columns = ["image_id", "retry", "problem"]
    empty = pl.DataFrame(schema=FAILED_SCHEMA).select(columns).with_columns(shard=pl.lit("", pl.String))
    tries = [
        rows.with_columns(shard=pl.lit(shard_of(path)))
        for path in storage.files(folder, ".parquet")
        if (rows := read_columns(storage, path, columns)) is not None
    ]
    return (
        pl.concat([empty, *tries])
        .sort("image_id", "retry", "problem")
        .unique(["image_id", "shard"], keep="last", maintain_order=True)
    )
