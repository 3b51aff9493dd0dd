"""Which of the planned images are there, which could not be made, and which are still to be made: read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import polars as pl

from synthvlm_dagster.errors import DamagedImagesError
from synthvlm_dagster.images.naming import (
    FAILED_IMAGES,
    IMAGES,
    failed_images_table,
    generator_name,
    shard_folder,
)
from synthvlm_dagster.images.table import FAILED_SCHEMA, IMAGE_SCHEMA
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import in_file, quarantine_damaged, rows_by_shard
from synthvlm_dagster.store.storage import UNREADABLE_TABLE, Storage

_OF_IMAGE = ["image_id", "shard"]
_MADE = {name: IMAGE_SCHEMA[name] for name in ("image_id", "retry")}
_TRIED = {name: FAILED_SCHEMA[name] for name in ("image_id", "retry", "problem")}


class PlannedImages:
    """The planned images of one shard, or of all, and what stands of them.

    Read once; whoever makes images of the shard tells it what was written, and hands it on to those who describe and
    check them. What stands in the folder of another shard, as after a change of the recipe's `shards`, and a chunk that
    cannot be read count as not there; so do images from a later try than the recipe's `retries` allow.

    Attributes:
        recipe: names the generator and its retries.
        storage: the store.
        shard: partition key; None: all shards.
        plan: the planned images: the plan's columns and image_id.
        quarantined: new paths of chunk files that were damaged.
        generator: name of the generator as it was when this was read; its files may become others meanwhile.
    """

    def __init__(
        self,
        recipe: Recipe,
        storage: Storage,
        plan: pl.DataFrame,
        shard: str | None,
        stored: pl.DataFrame,
        tried: pl.DataFrame,
        quarantined: tuple[str, ...] = (),
        generator: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.storage = storage
        self.shard = shard
        self.plan = plan
        self.quarantined = quarantined
        self.generator = generator or generator_name(recipe)
        self._stored = stored
        self._tried = tried
        self._places: _Places | None = None

    @classmethod
    def read(
        cls,
        recipe: Recipe,
        storage: Storage,
        plan: pl.DataFrame,
        shard: str | None = None,
        on_damage: Callable[[str], None] | None = None,
    ) -> PlannedImages:
        """Look at the ids of the images that are there, and at the tries that failed.

        Args:
            recipe: names the generator.
            storage: the store.
            plan: the planned images of the shard: the plan's columns and image_id.
            shard: partition key; None: all shards.
            on_damage: given where images are to be made: damaged chunk files are renamed to `….parquet.corrupt` first,
                and this is told. Without, nothing is changed.

        Raises:
            StorageError: the store cannot be reached.
        """
        generator = generator_name(recipe)
        tables = [shard_folder(f"{kind}/{generator}", shard) for kind in (IMAGES, FAILED_IMAGES)]
        quarantined: list[str] = []
        if on_damage:
            of_shard = f"shard {shard}: " if shard else ""
            for table in tables:
                quarantined += quarantine_damaged(storage, table, lambda message: on_damage(of_shard + message))
        stored, tried = (
            rows_by_shard(storage, table, schema) for table, schema in zip(tables, (_MADE, _TRIED), strict=True)
        )
        return cls(recipe, storage, plan, shard, stored, tried, tuple(quarantined), generator)

    def with_plan(self, plan: pl.DataFrame) -> PlannedImages:
        """The same store under another plan."""
        return PlannedImages(
            self.recipe, self.storage, plan, self.shard, self._stored, self._tried, self.quarantined, self.generator
        )

    @property
    def table(self) -> str:
        """Where the images stand in the store."""
        return shard_folder(f"{IMAGES}/{self.generator}", self.shard)

    @property
    def failed_table(self) -> str:
        """Where the tries stand that gave no usable picture."""
        return shard_folder(f"{FAILED_IMAGES}/{self.generator}", self.shard)

    @property
    def stored(self) -> pl.DataFrame:
        """All images that are there, planned or not: image_id, shard, retry, file."""
        return self._sorted_out().stored

    @property
    def present(self) -> pl.DataFrame:
        """Planned images that are there: the plan's columns and image_id."""
        return self._sorted_out().present

    @property
    def failed(self) -> pl.DataFrame:
        """Those tried with every seed that the recipe allows: + retry (of the last), problem."""
        return self._sorted_out().failed

    @property
    def missing(self) -> pl.DataFrame:
        """Those still to be made: + retry: the number of the next try, 0 for the first."""
        return self._sorted_out().missing

    @property
    def given_up(self) -> pl.DataFrame:
        """Images that could not be made, planned or not: image_id, shard, retry, problem; see `given_up`."""
        return self._sorted_out().given_up

    def wrote_images(self, path: str, rows: pl.DataFrame) -> None:
        """Take note of a chunk of images that has just been written; rows have image_id and retry."""
        self._stored = pl.concat([self._stored, in_file(rows.select(*_MADE), path)])
        self._places = None

    def wrote_failures(self, path: str, rows: pl.DataFrame) -> None:
        """Take note of a chunk of failed tries that has just been written; rows have image_id, retry and problem."""
        self._tried = pl.concat([self._tried, in_file(rows.select(*_TRIED), path)])
        self._places = None

    def scan(self) -> pl.LazyFrame:
        """The present images, each once, lazily; columns as `IMAGE_SCHEMA`.

        An image that stands in two chunks is read from the first.
        """
        places = self._sorted_out()
        of_file = self._stored.group_by("file").len()
        chosen = places.stored.join(places.present, on=_OF_IMAGE, how="semi", maintain_order="left").unique(
            _OF_IMAGE, keep="first", maintain_order=True
        )
        counts = dict(of_file.iter_rows())
        chunks = []
        for (path,), wanted in chosen.partition_by("file", as_dict=True, maintain_order=True).items():
            rows = self.storage.scan_files([str(path)]).select(*IMAGE_SCHEMA)
            whole = wanted.height == counts[path]
            chunks.append(rows if whole else rows.filter(pl.col("image_id").is_in(wanted["image_id"].implode())))
        return pl.concat(chunks) if chunks else pl.LazyFrame(schema=IMAGE_SCHEMA)

    def file_of(self, image_id: str) -> str | None:
        """The chunk file that an image is read from; None where it is in none."""
        return next(iter(self._sorted_out().stored.filter(pl.col("image_id") == image_id)["file"]), None)

    def progress(self) -> pl.DataFrame:
        """How far each shard is: one row per shard: shard, planned, present, failed, missing (numbers of images)."""
        shards = pl.DataFrame({"shard": self.recipe.shard_keys}, schema={"shard": pl.String})
        for name in ("present", "failed", "missing"):
            counts = getattr(self, name).group_by("shard").agg(pl.len().cast(pl.Int64).alias(name))
            shards = shards.join(counts, on="shard", how="left", maintain_order="left")
        counted = pl.col("present", "failed", "missing").fill_null(0)
        planned = pl.sum_horizontal("present", "failed", "missing").alias("planned")
        return shards.with_columns(counted).select("shard", planned, "present", "failed", "missing")

    def _sorted_out(self) -> _Places:
        if self._places is None:
            self._places = _sorted_out(self.plan, self._stored, self._tried, self.recipe.generation.retries)
        return self._places


class _Places(NamedTuple):
    """The plan in three parts, and what is stored and counts."""

    present: pl.DataFrame
    failed: pl.DataFrame
    missing: pl.DataFrame
    stored: pl.DataFrame
    given_up: pl.DataFrame


def given_up(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """The images that could not be made, planned or not: image_id, shard, retry, problem; reads no image.

    Raises:
        StorageError: the store cannot be reached.
    """
    tried = rows_by_shard(storage, failed_images_table(recipe, shard), _TRIED)
    return _given_up(_last_tries(tried, recipe.generation.retries), recipe.generation.retries)


def image_batches(images: pl.LazyFrame, shard: str, size: int) -> Iterator[pl.DataFrame]:
    """The rows of `PlannedImages.scan`, or of what was made of it, at most `size` at a time, in order.

    Raises:
        DamagedImagesError: a chunk of the shard is damaged where its list of images is not.
    """
    try:
        yield from images.collect_batches(chunk_size=size, maintain_order=True)
    except UNREADABLE_TABLE as error:
        raise DamagedImagesError(f"shard {shard}: a file of its images is damaged: {error}", shard) from error


def _sorted_out(plan: pl.DataFrame, stored: pl.DataFrame, tried: pl.DataFrame, retries: int) -> _Places:
    """A recipe that allows fewer retries than an earlier one has the images that a fresh run of it would have."""
    last = _last_tries(tried, retries)
    failed = _given_up(last, retries)
    usable = stored.filter(pl.col("retry") <= retries).join(failed, on=_OF_IMAGE, how="anti", maintain_order="left")
    rest = plan.join(usable, on=_OF_IMAGE, how="anti", maintain_order="left")
    again = pl.col("retry").add(1).fill_null(0)
    return _Places(
        present=plan.join(usable, on=_OF_IMAGE, how="semi", maintain_order="left"),
        failed=rest.join(failed, on=_OF_IMAGE, how="inner", maintain_order="left"),
        missing=rest.join(failed, on=_OF_IMAGE, how="anti", maintain_order="left")
        .join(last.select(*_OF_IMAGE, "retry"), on=_OF_IMAGE, how="left", maintain_order="left")
        .with_columns(again),
        stored=usable,
        given_up=failed,
    )


def _last_tries(tried: pl.DataFrame, retries: int) -> pl.DataFrame:
    """The last failed try of each image, of those that retries allow: image_id, shard, retry, problem."""
    return (
        tried.filter(pl.col("retry") <= retries)
        .sort("image_id", "retry", "problem")
        .unique(_OF_IMAGE, keep="last", maintain_order=True)
        .select(*_OF_IMAGE, "retry", "problem")
    )


def _given_up(last: pl.DataFrame, retries: int) -> pl.DataFrame:
    return last.filter(pl.col("retry") == retries)
