"""How much the text template matters: the share of the captions that the ratio rules keep inside it, and bare."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.captions.curate import Curator
from synthvlm_dagster.captions.tables import KEPT_BY_TEMPLATE
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import Storage

_SCHEMA = pl.Schema({"template": pl.String, "rows": pl.Int64, "kept": pl.Int64})


def write_kept_by_template(storage: Storage, curator: Curator, made_from: MadeFrom) -> None:
    """Keep what a curation that has seen every caption counted, for the report.

    Written before the curated captions are: they are not up to date beside the counts of another curation.

    Args:
        storage: the store.
        curator: what counted.
        made_from: the curation's record.

    Raises:
        StorageError: the table cannot be written; the one already there stays.
    """
    kept = curator.kept_by_template
    counts = {"template": list(kept), "rows": [curator.rows] * len(kept), "kept": list(kept.values())}
    storage.write_table(KEPT_BY_TEMPLATE, pl.DataFrame(counts, schema=_SCHEMA), made_from)


def read_kept_by_template(storage: Storage) -> dict[str, float]:
    """Share of the captions, in [0, 1], that the ratio rules keep, by text template; the recipe's comes first.

    Empty where nobody counted.

    Raises:
        StorageError: the table is damaged, or the store cannot be reached.
    """
    if not storage.has_table(KEPT_BY_TEMPLATE):
        return {}
    counts = storage.scan(KEPT_BY_TEMPLATE).collect()
    return {template: kept / rows for template, rows, kept in counts.iter_rows()}
