"""What an image is known by, and the seed that its noise is drawn from."""

from __future__ import annotations

import hashlib

import polars as pl

IMAGE_ID = pl.format("{}-{}", "caption_id", pl.col("attempt").cast(pl.String).str.zfill(2))
"""`image_id` of every row of a frame with the columns caption_id (String) and attempt (integer, from 0)."""


def image_id(caption_id: str, attempt: int) -> str:
    """Name of one image: its caption and which of the caption's attempts (0-based) it is."""
    return f"{caption_id}-{attempt:02d}"


def image_seed(recipe_seed: int, caption_id: str, attempt: int, retry: int = 0) -> int:
    """Seed of one image's initial noise, in [0, 2**63).

    Depends on nothing else: not on the shard, the batch, or the other captions.

    Args:
        recipe_seed: the recipe's.
        caption_id: the caption to show.
        attempt: which of the caption's images this is.
        retry: how many seeds of this image gave nothing that can be used. Each has a seed of its own: the seed of the
            next attempt would draw the picture that the next attempt draws anyway.
    """
    identity = f"{recipe_seed}\0{caption_id}\0{attempt}" + (f"\0{retry}" if retry else "")
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest()) >> 1
