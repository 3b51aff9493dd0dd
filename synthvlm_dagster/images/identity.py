"""What an image is known by, and the seed that its noise is drawn from."""

from __future__ import annotations

import hashlib

import polars as pl

IMAGE_ID = pl.format("{}-{}", "caption_id", pl.col("attempt").cast(pl.String).str.zfill(2))
"""Name of each row's image: its caption_id (String), and which of the caption's attempts (integer, from 0) it is."""


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
