"""JSON values, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from synthvlm_dagster.captions.rows import is_unicode


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
