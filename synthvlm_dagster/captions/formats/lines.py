"""One caption a line: as plain text or as a JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames, require_columns
from synthvlm_dagster.captions.formats.objects import object_rows
from synthvlm_dagster.captions.formats.text import lines
from synthvlm_dagster.captions.rows import Row, is_unicode, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

# Lines looked at before a field that none of them has counts as a wrong name.
_PEEKED = 1000


def read_txt(file: SourceFile, _: CaptionSource) -> Frames:
    """One caption a line."""
    with file.open() as stream:
        yield from to_frames((Row(number, line) for number, line in enumerate(lines(stream))), "the line")


def read_jsonl(file: SourceFile, source: CaptionSource) -> Frames:
    """One JSON object a line, with the fields that the source's `columns` name."""
    columns = source.columns or SourceColumns()
    with file.open() as stream:
        parsed = parsed_lines(lines(stream))
        peeked = list(islice(parsed, _PEEKED))
        objects = [item for item, _ in peeked if isinstance(item, dict)]
        if peeked and not objects:
            problem = peeked[0][1] or "it is not a JSON object"
            raise FormatError(f"one JSON object a line is expected; of line 1: {problem}")
        require_columns(columns, sorted({field for item in objects for field in item}))
        yield from to_frames(object_rows(chain(peeked, parsed), columns), columns.text)


def parsed_lines(texts: Iterable[str]) -> Iterator[tuple[Any, str | None]]:
    """The JSON value of each line and None, or None and why there is none."""
    return map(_parsed, texts)


def _parsed(line: str) -> tuple[Any, str | None]:
    if not line.strip():
        return None, "the line is empty"
    if not is_unicode(line):
        return None, "the line is not valid UTF-8"
    try:
        return json.loads(line), None
    except (ValueError, RecursionError):
        return None, "the line is not valid JSON"
