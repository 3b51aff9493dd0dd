"""What the selection's audit set aside, read back: how many images by which reason, and which ones."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.dataset.pairs import SET_ASIDE
from synthvlm_dagster.dataset.strategies import strategy_of
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

_NOTHING = pl.Schema({"image_id": pl.String, "reason": pl.String})


def set_aside_counts(recipe: Recipe, storage: Storage) -> dict[str, int]:
    """Images that each part of the audit set aside, by its name in `REASONS`; 0 where a part found none.

    Parts that are off are left out, and so is everything for a strategy without an audit: the table may then be what
    another recipe left.

    Raises:
        StorageError: nothing has been selected yet.
    """
    if not strategy_of(recipe.selection).audits:
        return {}
    audit = recipe.selection.audit
    parts = {"disagreement": audit.disagreement, "near_duplicate": audit.near_duplicates, "quota": audit.quotas}
    counts = dict(storage.scan(SET_ASIDE).group_by("reason").len().collect().iter_rows())
    return {reason: counts.get(reason, 0) for reason, part in parts.items() if part}


def set_aside_reasons(recipe: Recipe, storage: Storage) -> pl.LazyFrame:
    """image_id, unique, and reason of the images that the audit set aside; no rows for a strategy without an audit.

    Raises:
        StorageError: nothing has been selected yet.
    """
    if not strategy_of(recipe.selection).audits:
        return pl.LazyFrame(schema=_NOTHING)
    return storage.scan(SET_ASIDE).select(*_NOTHING)
