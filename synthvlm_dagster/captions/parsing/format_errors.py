"""What is wrong with a file that is not in the layout that it was read as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from synthvlm_dagster.errors import printable
from synthvlm_dagster.recipe import SourceColumns

# How columns of captions are often called.
_LIKELY_TEXT = re.compile(r"[\w -]*(caption|text|prompt|title|description)[\w -]*", re.IGNORECASE)
_LONGEST_NAME = 60
_MOST_NAMES = 50
_MOST_CHARACTERS = 1500


class FormatError(ValueError):
    """The file is not in the layout that it was read as.

    Args:
        problem: what was expected and found.
        fix: a sentence that says what to do.
    """

    def __init__(self, problem: str, fix: str = "Correct the file, or the source's format") -> None:
        super().__init__(problem.rstrip("."))
        self.fix = fix


def require_columns(columns: SourceColumns, existing: Sequence[str], hint: str = "") -> None:
    """Raise FormatError unless every column that `columns` names is there, once.

    Args:
        columns: what the source names, or its format.
        existing: the names of the file's columns or fields.
        hint: a sentence on what else may be wrong.
    """
    for setting, name in columns.model_dump().items():
        if name and existing.count(name) > 1:
            raise FormatError(f"{existing.count(name)} columns are called {name}", "Give them different names")
        if name and name not in existing:
            likely = next(filter(_is_likely, existing), None) if setting == "text" else None
            example = f", perhaps columns: {{text: {likely}}}" if likely else ""
            raise FormatError(
                f"there is no column {name}; columns are {_listed(existing)}",
                f"Set columns.{setting} of the source{example}.{hint and ' '}{hint}".removesuffix("."),
            )


def _is_likely(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _LIKELY_TEXT.fullmatch(name) is not None


def _listed(names: Sequence[str]) -> str:
    """The first names, each cut where it is long, as many as a reader may take in."""
    shown: list[str] = []
    room = _MOST_CHARACTERS
    for name in names[:_MOST_NAMES]:
        cut = f"{name[:_LONGEST_NAME]}…" if len(name) > _LONGEST_NAME else name
        shown.append(repr(cut) if cut != cut.strip() or "," in cut else cut)
        # As long as an error's message makes it, which spells out what cannot be printed.
        room -= len(printable(shown[-1])) + 2
        if room < 0:
            break
    more = [f"{len(names) - len(shown)} more"] if len(names) > len(shown) else []
    return ", ".join(shown + more) or "none"


def shape(value: Any) -> str:
    """A few words about a value of JSON, for an error's message."""
    if isinstance(value, dict):
        return f"an object with {_listed(list(value))}" if value else "an object with no fields"
    return "a list" if isinstance(value, list) else f"{type(value).__name__} {str(value)[:40]!r}"
