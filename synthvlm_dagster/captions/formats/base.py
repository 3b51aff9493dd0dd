"""What every format has in common: the shape of a reader, its error, and the check of column names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

Frames = Iterator[pl.DataFrame]
Reader = Callable[[SourceFile, CaptionSource], Frames]
"""Takes a file, which it may open more than once, and its source's settings; yields frames of `rows.ROW_SCHEMA`.

A row that it cannot use carries its problem; a file that is not in the layout at all raises FormatError.
"""


class FormatError(ValueError):
    """The file is not in the layout that it was read as; the message says what was expected and found."""


def require_columns(columns: SourceColumns, existing: Sequence[str]) -> None:
    """Raise FormatError unless every column that `columns` names is among the existing ones."""
    for setting, name in columns.model_dump().items():
        if name and name not in existing:
            listed = ", ".join(existing) if existing else "none"
            raise FormatError(f"there is no column {name}; columns are {listed}. Set columns.{setting} of the source")


def shape(value: Any) -> str:
    """A few words about a value of JSON, for an error's message."""
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:10]) or 'no fields'}"
    return "a list" if isinstance(value, list) else f"{type(value).__name__} {str(value)[:40]!r}"
