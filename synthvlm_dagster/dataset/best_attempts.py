"""The best attempt of each caption."""

from __future__ import annotations

import polars as pl

MERIT = "_merit"
"""Column of what images are compared by; more is better."""


def best_attempts(images: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that have the highest merit of their caption, one a caption: of equals, the first by image_id.

    Args:
        images: caption_id, image_id (unique; String, or any number in the order of the image_ids) and `MERIT`, without
            NaN; may have other columns.

    Returns:
        Rows of `images`, in no particular order.
    """
    highest = images.filter(pl.col(MERIT) == pl.col(MERIT).max().over("caption_id"))
    return highest.filter(pl.col("image_id") == pl.col("image_id").min().over("caption_id"))
