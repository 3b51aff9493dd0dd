"""A seeded random choice: what the paper's strategy is compared with."""

from __future__ import annotations

import hashlib

import polars as pl

from synthvlm_dagster.dataset.strategy import Strategy
from synthvlm_dagster.recipe import Selection


def _merit(_scores: pl.LazyFrame, _selection: Selection, seed: int) -> pl.Expr:
    """A hash of seed and image_id: UInt64."""
    return pl.col("image_id").map_batches(lambda ids: _hashes(ids, seed), return_dtype=pl.UInt64)


def _hashes(image_ids: pl.Series, seed: int) -> pl.Series:
    key = seed.to_bytes(8, "big")
    digests = (hashlib.blake2b(image_id.encode(), digest_size=8, key=key).digest() for image_id in image_ids)
    return pl.Series([int.from_bytes(digest, "big") for digest in digests], dtype=pl.UInt64)


STRATEGY = Strategy(name="random", merit=_merit, in_words=lambda _: "nothing: a seeded random choice")
