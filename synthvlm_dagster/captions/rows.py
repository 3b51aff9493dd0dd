"""Caption rows as they come out of a file, the bad ones with their problem instead of a text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

import polars as pl

ROW_SCHEMA = pl.Schema(
    {
        "source_row": pl.Int64,
        "text": pl.String,
        "image_uri": pl.String,
        "clip_similarity": pl.Float64,
        "watermark_score": pl.Float64,
        "nsfw_score": pl.Float64,
        "problem": pl.String,
    }
)

Frames = Iterator[pl.DataFrame]
"""Frames with the columns of `ROW_SCHEMA`."""

UNREADABLE = "\ufdd0"
"""Stands in a text for what is no Unicode; a code point that Unicode reserves for such internal uses."""

CONTROL_CHARACTERS = r"[\x00-\x08\x0e-\x1b\x7f]"
"""Those that are no white space. No text has them, but files that are no text, and attacks on terminals."""

_has_control_character = re.compile(CONTROL_CHARACTERS).search
_BATCH = 50_000
# Rows turned into columns at a time: too few to call the garbage collector, which otherwise takes most of the time.
_FEW = 500


class Row(NamedTuple):
    """One caption as found, of any type; `problem` says why there is none."""

    source_row: int
    text: Any = None
    image_uri: Any = None
    clip_similarity: Any = None
    watermark_score: Any = None
    nsfw_score: Any = None
    problem: str | None = None


class Missing:
    """Stands for a field that the row does not have, as opposed to one that is null."""


MISSING = Missing()


def each_caption(row: Row, field: str) -> Iterator[Row]:
    """A row for each caption of a row whose text is a list; a list of as many similarities is dealt out to them."""
    texts, similarities = row.text, row.clip_similarity
    if not texts:
        yield row._replace(text=None, problem=f"{field} is an empty list")
    if not isinstance(similarities, list):
        similarities = [similarities] * len(texts)
    elif len(similarities) != len(texts):
        similarities = [None] * len(texts)
    for text, similarity in zip(texts, similarities, strict=True):
        yield row._replace(text=text, clip_similarity=similarity)


def to_frames(rows: Iterable[Row], field: str) -> Iterator[pl.DataFrame]:
    """Frames with the columns of `ROW_SCHEMA`: the text of a good row, the problem of a bad one.

    Args:
        rows: rows as found.
        field: the field that holds the caption, as problems name it.
    """
    iterator = iter(rows)
    columns = _empty_columns()
    while few := list(islice(iterator, _FEW)):
        for column, values in zip(columns, zip(*few, strict=True), strict=True):
            column.extend(values)
        if len(columns[0]) >= _BATCH:
            yield _frame(columns, field)
            columns = _empty_columns()
    if columns[0]:
        yield _frame(columns, field)


def _empty_columns() -> list[list[Any]]:
    return [[] for _ in Row._fields]


def _frame(columns: list[list[Any]], field: str) -> pl.DataFrame:
    places, texts, images, *scores, problems = columns
    problems = [problem or text_problem(text, field) for problem, text in zip(problems, texts, strict=True)]
    return pl.DataFrame(
        [
            places,
            [text if problem is None else None for text, problem in zip(texts, problems, strict=True)],
            [image if image is None else _string(image) for image in images],
            *([value if value is None else _number(value) for value in values] for values in scores),
            problems,
        ],
        schema=ROW_SCHEMA,
        orient="col",
    )


def text_problem(value: Any, field: str) -> str | None:
    """Why a value cannot be a caption; None when it can."""
    if isinstance(value, str):
        if not value or value.isspace():
            return f"{field} is empty"
        if not is_unicode(value):
            return f"{field} is not valid UTF-8"
        return f"{field} holds a control character" if _has_control_character(value) else None
    if value is MISSING:
        return f"{field} is missing"
    if value is None:
        return f"{field} is null"
    return f"{field} is {_kind(value)}, not a string"


def is_unicode(text: str) -> bool:
    r"""False when the text holds a lone surrogate (an undecodable byte, or half of a JSON \\u pair) or `UNREADABLE`."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return UNREADABLE not in text


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float | Decimal):
        return "a number"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"of type {type(value).__name__}"


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value and is_unicode(value) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
