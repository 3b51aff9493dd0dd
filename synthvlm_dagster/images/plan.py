"""Which images to make: a table of captions and attempts."""

from __future__ import annotations

import hashlib

import polars as pl

from synthvlm_dagster.images.chunks import read_columns, write_chunk
from synthvlm_dagster.images.identity import IMAGE_ID
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.one_run import recipe_of_table
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.storage import Storage

PLAN_TABLE = "plans/attempts"
ADDED_ATTEMPTS = "plans/further_attempts"

PLAN_DESCRIPTIONS = {
    "caption_id": "The caption to show; 16 hexadecimal digits.",
    "text": "The caption, as the generator gets it.",
    "attempt": "Which of the caption's images this is, from 0; part of the image's seed.",
    "shard": "Partition that makes the image.",
}


def plan_attempts(curated: pl.LazyFrame | pl.DataFrame, attempts: Attempts, seed: int) -> pl.DataFrame:
    """Give every curated caption, or a stable pseudo-random choice of them, its first attempts.

    Args:
        curated: at least the columns caption_id, text, shard; caption_id is unique.
        attempts: how many images per caption to begin with, for how many captions at most.
        seed: the recipe's seed; another seed chooses other captions. A larger `max_captions` keeps those chosen
            before and adds to them.

    Returns:
        One row per image to make: caption_id, text (String), attempt (Int32, from 0), shard; sorted by caption_id and
        attempt.
    """
    captions = curated.lazy().select("caption_id", "text", "shard").collect()
    if attempts.max_captions is not None and attempts.max_captions < captions.height:
        order = pl.Series([_draw(seed, caption_id) for caption_id in captions["caption_id"]], dtype=pl.Binary)
        captions = captions.filter(order.rank("ordinal") <= attempts.max_captions)
    numbers = pl.DataFrame({"attempt": pl.Series(range(attempts.fewest), dtype=pl.Int32)})
    return captions.join(numbers, how="cross").select(*PLAN_DESCRIPTIONS).sort("caption_id", "attempt")


def read_plan(recipe: Recipe, storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """The planned images of one shard, or of all: the first plan, and what has been added for an adaptive recipe.

    Additions for captions that are no longer planned, or beyond the `max` of the plan, are left out.

    Returns:
        The plan's columns and image_id; sorted by caption_id and attempt.

    Raises:
        StorageError: nothing has been planned yet.
    """
    first = storage.scan(PLAN_TABLE)
    if shard is not None:
        first = first.filter(pl.col("shard") == shard)
    rows = first.collect()
    if recipe.attempts.adaptive:
        attempts = recipe_of_plan(recipe, storage).attempts
        rows = _with_added_attempts(rows, _added_attempts(recipe, storage, shard), attempts.most)
    return with_image_ids(rows).sort("caption_id", "attempt")


def recipe_of_plan(recipe: Recipe, storage: Storage) -> Recipe:
    """The recipe with the attempts that the plan was made for, where a run had its own; see `one_run`."""
    return recipe_of_table(recipe, storage, PLAN_TABLE)


def add_attempts(recipe: Recipe, storage: Storage, shard: str, attempts: pl.DataFrame) -> None:
    """Add attempts to the plan of a shard, as one file; adding the same ones again changes nothing.

    They belong to the recipe's generator: the scores of another one's images ask for others.

    Args:
        recipe: names the generator.
        storage: the store.
        shard: partition key.
        attempts: caption_id, attempt, and what the reader of the table may want to know beside.

    Raises:
        StorageError: the file cannot be written.
    """
    write_chunk(storage, added_attempts_table(recipe, shard), with_image_ids(attempts))


def added_attempts_table(recipe: Recipe, shard: str) -> str:
    """Path of the table of a shard's added attempts."""
    return f"{ADDED_ATTEMPTS}/{generator_name(recipe)}/{shard}"


def with_image_ids(attempts: pl.DataFrame) -> pl.DataFrame:
    """The rows with a column image_id, made of caption_id and attempt."""
    return attempts.with_columns(image_id=IMAGE_ID)


def _with_added_attempts(first: pl.DataFrame, added: pl.DataFrame, most: int) -> pl.DataFrame:
    """The first plan with every attempt up to a caption's last added one, so that no lost file leaves a gap."""
    last = added.group_by("caption_id").agg(pl.col("attempt").max())
    captions = first.group_by("caption_id", "text", "shard").agg(begin=pl.col("attempt").max() + 1)
    more = (
        captions.join(last, on="caption_id")
        .with_columns(attempt=pl.int_ranges("begin", (pl.col("attempt") + 1).clip(upper_bound=most), dtype=pl.Int32))
        .explode("attempt", empty_as_null=False)
    )
    return pl.concat([first, more.select(*PLAN_DESCRIPTIONS)])


def _added_attempts(recipe: Recipe, storage: Storage, shard: str | None) -> pl.DataFrame:
    """caption_id and attempt of every row that has been added."""
    folder = added_attempts_table(recipe, shard) if shard else f"{ADDED_ATTEMPTS}/{generator_name(recipe)}"
    empty = pl.DataFrame(schema={"caption_id": pl.String, "attempt": pl.Int32})
    # A damaged file says nothing: the same scores ask for the same attempts again.
    chunks = [read_columns(storage, path, empty.columns) for path in storage.files(folder, ".parquet")]
    return pl.concat([empty, *(chunk for chunk in chunks if chunk is not None)])


def _draw(seed: int, caption_id: str) -> bytes:
    return hashlib.blake2b(f"plan\0{seed}\0{caption_id}".encode(), digest_size=8).digest()
