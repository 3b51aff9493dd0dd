"""Which images to make: a table of captions and attempts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from synthvlm_dagster.images.identity import IMAGE_ID
from synthvlm_dagster.images.naming import generator_name, shard_folder
from synthvlm_dagster.orchestration.one_run import recipe_of_table
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.chunks import read_columns, write_chunk
from synthvlm_dagster.store.storage import Storage

PLAN_TABLE = "plans/attempts"
ADDED_ATTEMPTS = "plans/further_attempts"
"""What the scores asked for, by an adaptive recipe; a recipe with a fixed number takes no notice of it."""
NIGHTS_ATTEMPTS = "plans/nights_attempts"
"""What was added at night; part of the plan whatever `attempts` says later, so that no image is lost."""

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
    """The planned images of one shard, or of all: the first plan, and what has been added to it.

    Additions for captions that are no longer planned are left out, and those of an adaptive recipe beyond the plan's
    `max`.

    Returns:
        The plan's columns and image_id; sorted by caption_id and attempt.

    Raises:
        StorageError: nothing has been planned yet.
    """
    first = storage.scan(PLAN_TABLE)
    if shard is not None:
        first = first.filter(pl.col("shard") == shard)
    rows = first.collect()
    added = [added_attempts(recipe, storage, shard, NIGHTS_ATTEMPTS)]
    if recipe.attempts.adaptive:
        limit = recipe_of_plan(recipe, storage).attempts.most - 1
        added.append(added_attempts(recipe, storage, shard).with_columns(pl.col("attempt").clip(upper_bound=limit)))
    return with_image_ids(_with_added_attempts(rows, pl.concat(added))).sort("caption_id", "attempt")


def recipe_of_plan(recipe: Recipe, storage: Storage) -> Recipe:
    """The recipe with the attempts that the plan was made for, where a run had its own; see `one_run`."""
    return recipe_of_table(recipe, storage, PLAN_TABLE)


def add_attempts(
    recipe: Recipe, storage: Storage, shard: str, attempts: pl.DataFrame, folder: str = ADDED_ATTEMPTS
) -> None:
    """Add attempts to the plan of a shard, as one file; adding the same ones again changes nothing.

    They belong to the recipe's generator: the scores of another one's images ask for others.

    Args:
        recipe: names the generator.
        storage: the store.
        shard: partition key.
        attempts: caption_id, attempt, and what the reader of the table may want to know beside.
        folder: `ADDED_ATTEMPTS` or `NIGHTS_ATTEMPTS`.

    Raises:
        StorageError: the file cannot be written.
    """
    write_chunk(storage, added_attempts_table(recipe, shard, folder), with_image_ids(attempts))


def added_attempts(
    recipe: Recipe,
    storage: Storage,
    shard: str | None = None,
    folder: str = ADDED_ATTEMPTS,
    columns: Sequence[str] = ("caption_id", "attempt"),
) -> pl.DataFrame:
    """The rows that have been added to the plan of one shard, or of all; in no particular order.

    Args:
        recipe: names the generator.
        storage: the store.
        shard: partition key; None: all shards.
        folder: `ADDED_ATTEMPTS` or `NIGHTS_ATTEMPTS`.
        columns: to read: attempt is Int32, best_score Float64, the others String.
    """
    types = {"attempt": pl.Int32, "best_score": pl.Float64}
    empty = pl.DataFrame(schema={name: types.get(name, pl.String) for name in columns})
    # A damaged file says nothing: the same scores ask for the same attempts again.
    files = storage.files(added_attempts_table(recipe, shard, folder), ".parquet")
    chunks = [read_columns(storage, path, empty.columns) for path in files]
    return pl.concat([empty, *(chunk for chunk in chunks if chunk is not None)])


def added_attempts_table(recipe: Recipe, shard: str | None = None, folder: str = ADDED_ATTEMPTS) -> str:
    """Path of the table of a shard's added attempts, or of the folder with those of all shards."""
    return shard_folder(f"{folder}/{generator_name(recipe)}", shard)


def with_image_ids(attempts: pl.DataFrame) -> pl.DataFrame:
    """The rows with a column image_id, made of caption_id and attempt."""
    return attempts.with_columns(image_id=IMAGE_ID)


def _with_added_attempts(first: pl.DataFrame, added: pl.DataFrame) -> pl.DataFrame:
    """The first plan with every attempt up to a caption's last added one, so that no lost file leaves a gap."""
    last = added.group_by("caption_id").agg(pl.col("attempt").max())
    captions = first.group_by("caption_id", "text", "shard").agg(begin=pl.col("attempt").max() + 1)
    more = (
        captions.join(last, on="caption_id")
        .with_columns(attempt=pl.int_ranges("begin", pl.col("attempt") + 1, dtype=pl.Int32))
        .explode("attempt", empty_as_null=False)
    )
    return pl.concat([first, more.select(*PLAN_DESCRIPTIONS)])


def _draw(seed: int, caption_id: str) -> bytes:
    return hashlib.blake2b(f"plan\0{seed}\0{caption_id}".encode(), digest_size=8).digest()
