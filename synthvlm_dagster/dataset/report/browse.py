"""The gallery that can be searched: a fixed sample of the selected and the left-out pairs."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from synthvlm_dagster.dataset.pairs import with_images
from synthvlm_dagster.dataset.report.gallery import Pair, as_pair, thumbnail
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

_MOST_BYTES = 3_000_000
_QUALITY = 70
_LONGEST_CAPTION = 600


@dataclass(frozen=True)
class Browser:
    """The pairs that can be searched.

    Attributes:
        pairs: the selected by rank, then those left out by weighted score, the best first.
        selected: how many of them are selected.
        of_selected: selected pairs in the dataset.
        of_left_out: scored images that were left out.
    """

    pairs: tuple[Pair, ...]
    selected: int
    of_selected: int
    of_left_out: int

    @property
    def left_out(self) -> int:
        """How many of the pairs were left out."""
        return len(self.pairs) - self.selected


def gather_browser(recipe: Recipe, storage: Storage, scored: pl.LazyFrame) -> Browser:
    """Half selected and half left-out pairs, or as many as there are, with pictures of at most 3 MB together.

    The first by shard and image_id: both are hashes, so that they are a fair sample, the same at every reading, and lie
    in few files.

    Args:
        recipe: says how many.
        storage: the store of the images.
        scored: as `scored_pairs` gives it.

    Raises:
        StorageError: an image is missing from the store.
        DamagedImagesError: an image cannot be decoded; says which.
    """
    is_left_out = pl.col("rank").is_null()
    left_out, selected = scored.select(is_left_out.sum(), (~is_left_out).sum().alias("selected")).collect().row(0)
    half = recipe.report.gallery_pairs // 2
    first = [
        scored.filter(condition).bottom_k(half, by=["shard", "image_id"]).collect().sort("shard", "image_id")
        for condition in (~is_left_out, is_left_out)
    ]
    # Alternating, so that a sample cut short for its size has as many of each.
    sample = pl.concat([frame.with_row_index("place") for frame in first]).sort("place", "rank", nulls_last=True)
    pictures = {
        image_id: thumbnail(image["bytes"], image_id, shard, _QUALITY)
        for batch in with_images(recipe, storage, sample.select("image_id", "shard"))
        for image_id, shard, image in batch.select("image_id", "shard", "image").iter_rows()
    }
    size = pl.Series([len(pictures[image_id]) for image_id in sample["image_id"]], dtype=pl.Int64).cum_sum()
    fitting = sample.filter(size <= _MOST_BYTES).sort(
        "rank", "weighted_score", "image_id", descending=[False, True, False], nulls_last=True
    )
    shortened = fitting.with_columns(
        pl.when(pl.col("text").str.len_chars() > _LONGEST_CAPTION)
        .then(pl.col("text").str.head(_LONGEST_CAPTION) + "…")
        .otherwise("text")
        .alias("text")
    )
    pairs = tuple(as_pair(row, pictures) for row in shortened.iter_rows(named=True))
    return Browser(pairs, sum(pair.rank is not None for pair in pairs), selected, left_out)
