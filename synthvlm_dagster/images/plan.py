"""Which images to make to begin with: a table of captions and attempts, laid out by shard."""

from __future__ import annotations

import hashlib

import polars as pl

from synthvlm_dagster.images.identity import IMAGE_ID
from synthvlm_dagster.orchestration.one_run import recipe_of_table
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import Storage

PLAN_TABLE = "plans/attempts"

PLAN_SCHEMA = pl.Schema({"caption_id": pl.String(), "text": pl.String(), "attempt": pl.Int32(), "shard": pl.String()})
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


def write_plan(storage: Storage, plan: pl.DataFrame, made_from: MadeFrom | None = None) -> None:
    """Replace the plan by the rows of `plan_attempts`: one file, with one row group for each shard.

    So it appears whole or not at all, and a shard reads its own part alone.

    Args:
        storage: the store.
        plan: its rows.
        made_from: what it is made from.

    Raises:
        StorageError: the file cannot be written; the plan already there stays.
    """
    by_shard = plan.sort("shard", maintain_order=True).partition_by("shard", maintain_order=True)
    with storage.table_writer(PLAN_TABLE, PLAN_SCHEMA, made_from) as write:
        for rows in by_shard:
            write(rows)


def first_attempts(storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """The plan of one shard, or of all, as the captions alone have it; `attempts.plan` knows what was added to it.

    Returns:
        The plan's columns and image_id; sorted by caption_id and attempt.

    Raises:
        StorageError: nothing has been planned yet.
    """
    rows = storage.scan(PLAN_TABLE).collect() if shard is None else storage.rows_with(PLAN_TABLE, "shard", shard)
    return with_image_ids(rows).sort("caption_id", "attempt")


def recipe_of_plan(recipe: Recipe, storage: Storage) -> Recipe:
    """The recipe with the attempts that the plan was made for, where a run had its own; see `one_run`."""
    return recipe_of_table(recipe, storage, PLAN_TABLE)


def with_image_ids(attempts: pl.DataFrame) -> pl.DataFrame:
    """The rows with a column image_id, made of caption_id and attempt."""
    return attempts.with_columns(image_id=IMAGE_ID)


def _draw(seed: int, caption_id: str) -> bytes:
    return hashlib.blake2b(f"plan\0{seed}\0{caption_id}".encode(), digest_size=8).digest()
