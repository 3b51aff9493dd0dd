"""Captions in markdown, where they are text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_LONGEST_SHOWN = 120
# Every ASCII sign that can begin markup; a full stop only where it could make a link, which it cannot in a number.
_MARKUP = re.compile(r"[!-$&(-+\-/:-@\[-`{-~]|\.(?=[^\W\d])")


# What GitHub's markdown makes a link of. Dagster's page looks for it when the escapes are already read.
_LINKS = re.compile(r"(?<=http)(?=s?:)|(?<=www)(?=\.)|(?<=[\w.+-])(?=@[\w-])", re.IGNORECASE)
_WORD_JOINER = "\u2060"
"""Shows nothing and parts nothing, but no address goes over it."""


def as_markdown_text(text: str) -> str:
    """The text in one line that a markdown page shows as it is: no table cell, tag, link or emphasis begins in it."""
    line = _LINKS.sub(_WORD_JOINER, " ".join(text.split()))
    return _MARKUP.sub(lambda sign: f"&#{ord(sign.group())};", line)


def shortened(text: str) -> str:
    """The beginning of a long text, with an ellipsis."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose numeric columns are aligned right.

    Args:
        columns: their names; one that ends in `#` holds numbers, and is shown without the sign.
        rows: one value for each column; integers get thousands separators, None an empty cell.
    """
    lines = [_line(name.removesuffix("#") for name in columns)]
    lines.append("|" + "|".join("---:" if name.endswith("#") else "---" for name in columns) + "|")
    lines += [_line(_cell(value) for value in row) for row in rows]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
