"""Dagster metadata that every table shows: where it is, how many rows, which columns; and pages that stay small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.store.storage import Storage

MAX_MARKDOWN_BYTES = 20_000
"""Of one page of text; with a contact sheet, the largest value beside, an event stays below 64 KiB."""


def markdown(text: str) -> dg.MarkdownMetadataValue:
    """A page for the UI, without its last lines where it is long: Dagster keeps it in its event database."""
    if len(text.encode()) <= MAX_MARKDOWN_BYTES:
        return dg.MetadataValue.md(text)
    kept = text.encode()[:MAX_MARKDOWN_BYTES].decode(errors="ignore")
    whole_lines = kept.rpartition("\n")[0] or kept
    return dg.MetadataValue.md(f"{whole_lines}\n\n… {len(text) - len(whole_lines):,} characters more are not shown.")


def table_metadata(
    storage: Storage, table: str, *, row_count: int, schema: pl.Schema, descriptions: Mapping[str, str]
) -> dict[str, Any]:
    """Location, row count and column schema of a table, under the names the Dagster UI knows.

    Args:
        storage: the store that holds the table.
        table: its path in the store.
        row_count: number of rows.
        schema: columns and their polars types.
        descriptions: what each column holds, with unit and range; every column must be described.

    Raises:
        KeyError: a column has no description.
    """
    columns = {name: (str(dtype), descriptions[name]) for name, dtype in schema.items()}
    return rows_metadata(storage, table, row_count=row_count, columns=columns)


def rows_metadata(
    storage: Storage, location: str, *, row_count: int, columns: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """As `table_metadata`, of an export in any format.

    Args:
        storage: the store that holds it.
        location: its path in the store.
        row_count: number of entries, samples or rows.
        columns: type and description of what each of them holds, by name.
    """
    return {
        "dagster/row_count": row_count,
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, kind, description) for name, (kind, description) in columns.items()]
        ),
        "dagster/uri": storage.url(location),
    }
