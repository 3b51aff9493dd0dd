"""Dagster metadata that every table shows: where it is, how many rows, which columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from synthvlm_dagster.storage import Storage


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
    columns = [
        dg.TableColumn(name=name, type=str(dtype), description=descriptions[name]) for name, dtype in schema.items()
    ]
    return {
        "dagster/row_count": row_count,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/uri": storage.url(table),
    }
