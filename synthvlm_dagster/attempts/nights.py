"""Attempts that nights have added to the plan: part of it whatever `attempts` says later, so that no image is lost."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from synthvlm_dagster.images.naming import generator_name, shard_folder
from synthvlm_dagster.images.plan import PLAN_DESCRIPTIONS, with_image_ids
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import rows_by_shard, write_chunk
from synthvlm_dagster.store.storage import Storage

NIGHTS_ATTEMPTS = "plans/nights_attempts"

_TYPES = {"attempt": pl.Int32(), "best_score": pl.Float64()}


def add_nights_attempts(recipe: Recipe, storage: Storage, shard: str, attempts: pl.DataFrame) -> None:
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
    write_chunk(storage, nights_attempts_table(recipe, shard), with_image_ids(attempts))


def nights_attempts(
    recipe: Recipe, storage: Storage, shard: str | None = None, columns: Sequence[str] = ("caption_id", "attempt")
) -> pl.DataFrame:
    """The rows that nights have added to the plan of one shard, or of all; in no particular order.

    Args:
        recipe: names the generator.
        storage: the store.
        shard: partition key; None: all shards.
        columns: to read: attempt is Int32, best_score Float64, the others String.
    """
    schema = {name: _TYPES.get(name, pl.String()) for name in columns}
    # A damaged file says nothing: the same scores ask for the same attempts again.
    return rows_by_shard(storage, nights_attempts_table(recipe, shard), schema).select(columns)


def nights_attempts_table(recipe: Recipe, shard: str | None = None) -> str:
    """Path of the table of what nights have added to a shard, or of the folder with those of all shards."""
    return shard_folder(f"{NIGHTS_ATTEMPTS}/{generator_name(recipe)}", shard)


def with_nights_attempts(first: pl.DataFrame, added: pl.DataFrame) -> pl.DataFrame:
    """A plan with every attempt up to a caption's last added one, so that no lost file leaves a gap.

    Args:
        first: the plan's columns and image_id.
        added: caption_id and attempt; those of captions that are not planned are left out.
    """
    if added.is_empty():
        return first
    last = added.group_by("caption_id").agg(pl.col("attempt").max())
    captions = first.group_by("caption_id", "text", "shard").agg(begin=pl.col("attempt").max() + 1)
    more = (
        captions.join(last, on="caption_id")
        .with_columns(attempt=pl.int_ranges("begin", pl.col("attempt") + 1, dtype=pl.Int32))
        .explode("attempt", empty_as_null=False)
    )
    return pl.concat([first, with_image_ids(more.select(*PLAN_DESCRIPTIONS))]).sort("caption_id", "attempt")
