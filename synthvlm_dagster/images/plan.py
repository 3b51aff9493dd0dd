"""Which images to make: a table of captions and attempts."""

from __future__ import annotations

import hashlib

import polars as pl

from synthvlm_dagster.images.identity import image_id
from synthvlm_dagster.recipe import Attempts
from synthvlm_dagster.storage import Storage

PLAN_TABLE = "plans/attempts"

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
        attempts: how many images per caption, for how many captions at most.
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
    numbers = pl.DataFrame({"attempt": pl.Series(range(attempts.per_caption), dtype=pl.Int32)})
    return captions.join(numbers, how="cross").select(*PLAN_DESCRIPTIONS).sort("caption_id", "attempt")


def read_plan(storage: Storage, shard: str | None = None) -> pl.DataFrame:
    """The planned images of one shard, or of all: the plan's columns and image_id, sorted by caption_id and attempt.

    Raises:
        StorageError: nothing has been planned yet.
    """
    plan = storage.scan(PLAN_TABLE)
    if shard is not None:
        plan = plan.filter(pl.col("shard") == shard)
    rows = plan.collect()
    ids = [image_id(caption, attempt) for caption, attempt in rows.select("caption_id", "attempt").iter_rows()]
    return rows.with_columns(image_id=pl.Series(ids, dtype=pl.String)).sort("caption_id", "attempt")


def _draw(seed: int, caption_id: str) -> bytes:
    return hashlib.blake2b(f"plan\0{seed}\0{caption_id}".encode(), digest_size=8).digest()
