"""Captions that a new plan no longer has: how many, why, and how many images of theirs stand."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from synthvlm_dagster.captions.tables import CURATED, RAW
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.plan import PLAN_TABLE
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import rows_by_shard
from synthvlm_dagster.store.storage import UNREADABLE_TABLE, Storage


class Departures(NamedTuple):
    """Captions of the plan that stands which the new one has not."""

    gone: int
    """No longer in their source."""
    rejected: int
    """In their source, but rejected by curation."""
    unplanned: int
    """Kept by curation, but beyond `attempts.max_captions`."""
    images: int
    """Images of all of them, by the recipe's generator."""

    def __str__(self) -> str:
        """For example `12 captions of the plan left: no longer in their source; 40 images …`; empty where none did."""
        reasons = (
            (self.gone, "no longer in their source"),
            (self.rejected, "rejected by curation now"),
            (self.unplanned, "beyond attempts.max_captions"),
        )
        told = [f"{count:,} caption{_s(count)} of the plan left: {why}" for count, why in reasons if count]
        if self.images:
            told.append(f"{self.images:,} image{_s(self.images)} of theirs can be deleted by `synthvlm gc`")
        return "; ".join(told)


def departures(recipe: Recipe, storage: Storage, plan: pl.DataFrame) -> Departures:
    """Compare a new plan with the one that stands, which it is to replace.

    Args:
        recipe: names the generator.
        storage: the store, with the captions that the new plan is made of.
        plan: the new plan, with caption_id.

    Raises:
        StorageError: the store cannot be reached.
    """
    nothing = Departures(0, 0, 0, 0)
    if not storage.has_table(PLAN_TABLE):
        return nothing
    try:
        before = storage.scan(PLAN_TABLE).select("caption_id").unique().collect()
    # A damaged plan says nothing of what it held.
    except UNREADABLE_TABLE:
        return nothing
    left = before.join(plan.select("caption_id"), on="caption_id", how="anti")
    if left.is_empty():
        return nothing

    def among(table: str) -> int:
        found = storage.scan(table).select("caption_id").unique()
        return int(left.lazy().join(found, on="caption_id", how="semi").select(pl.len()).collect().item())

    in_source, kept = among(RAW), among(CURATED)
    stand = rows_by_shard(storage, images_table(recipe), {"image_id": pl.String()})
    # An image is named by its caption, and the attempt behind a dash.
    captions = stand.select(caption_id=pl.col("image_id").str.head(-3))
    images = captions.join(left, on="caption_id", how="semi").height
    return Departures(left.height - in_source, in_source - kept, kept, images)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
