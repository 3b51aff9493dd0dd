"""JSON files that hold their captions in lists: what their readers require of them before they read them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.format_errors import FormatError, require_columns, shape
from synthvlm_dagster.captions.parsing.json_stream import json_items, json_outline, json_start
from synthvlm_dagster.recipe import SourceColumns

# Items looked at before a field that none of them has shows that the file is in another layout.
_PEEKED = 1000


def items_with(file: SourceFile, field: str, layout: str, columns: SourceColumns | None = None) -> Iterator[Any]:
    """The items of a file that is a list, of which some have the field, and the columns that the source names."""
    require_start(file, "[", layout)
    return require_field(json_items(file, "item"), field, layout, columns)


def require_field(items: Iterator[Any], field: str, layout: str, columns: SourceColumns | None = None) -> Iterator[Any]:
    """The items, of which some have the field.

    Args:
        items: of a list.
        field: which tells the layout.
        layout: name of the format.
        columns: fields that the source names, if it does.

    Raises:
        FormatError: none of the first items has the field, or the columns.
    """
    peeked = list(islice(items, _PEEKED))
    objects = [item for item in peeked if isinstance(item, dict)]
    if columns and objects:
        require_columns(columns, sorted({name for item in objects for name in item}))
    if peeked and not any(field in item for item in objects):
        raise FormatError(f"no item has the field {field} (format {layout}); the first is {shape(peeked[0])}")
    return chain(peeked, items)


def require_start(file: SourceFile, sign: str, layout: str) -> None:
    """Tell a list from an object before a large file is read in vain."""
    found = json_start(file)
    if found != sign:
        kinds = {"[": "a JSON list", "{": "a JSON object"}
        raise FormatError(f"{kinds[sign]} is expected (format {layout}), found {kinds.get(found, found or 'nothing')}")


def require_lists(file: SourceFile, layout: str, *fields: str) -> None:
    """Raise FormatError unless the file is an object in which these fields are lists."""
    outline = json_outline(file)
    for field in fields:
        if outline.get(field) != "start_array":
            raise FormatError(
                f"a JSON object with a list `{field}` is expected (format {layout}), found {shape(outline)}"
            )
