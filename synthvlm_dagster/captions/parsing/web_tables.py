"""Where the published tables of web captions keep what a caption row needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthvlm_dagster.captions.parsing.format_errors import require_columns
from synthvlm_dagster.recipe import CaptionSource, SourceColumns


@dataclass(frozen=True)
class WebTable:
    """One published layout."""

    columns: SourceColumns
    """What a source that names no columns reads; a file may lack all of them but the text."""

    marks: frozenset[str] = frozenset()
    """Column names that together tell the layout from every other."""

    candidates: str | None = None
    """A column of lists that hold the text among other captions, parallel to the list of similarities."""

    of_another_text: SourceColumns | None = None
    """What a source reads that names, as its text, the text of these columns."""


PLAIN = WebTable(SourceColumns())
"""A table of no published layout."""


@dataclass(frozen=True)
class Selection:
    """What to read from one table."""

    columns: SourceColumns
    candidates: str | None

    @property
    def names(self) -> list[str]:
        """The columns that are needed, each once."""
        return sorted({*self.columns.model_dump(exclude_none=True).values(), *filter(None, [self.candidates])})


def select_columns(table: WebTable, source: CaptionSource, names: Sequence[str]) -> Selection:
    """The columns to read from a table with these names: those that the source names, else the layout's if present.

    Args:
        table: the layout.
        source: its `columns` come first, each for itself.
        names: all columns of the file.

    Raises:
        FormatError: the text column, or one that the source names, is not there.
    """
    given = source.columns.model_dump(exclude_unset=True) if source.columns else {}
    defaults = table.columns
    if table.of_another_text and given.get("text") == table.of_another_text.text:
        defaults = table.of_another_text
    optional = defaults.model_dump(exclude={"text"})
    absent = {setting: None for setting, name in optional.items() if name not in names}
    columns = defaults.model_copy(update=absent | given)
    require_columns(columns, names)
    has_candidates = columns.text == table.columns.text and table.candidates in names
    return Selection(columns, table.candidates if has_candidates else None)
