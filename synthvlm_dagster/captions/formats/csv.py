"""Comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.delimited import delimited_rows
from synthvlm_dagster.captions.parsing.text import whole_lines
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource


def read_csv(file: SourceFile, source: CaptionSource) -> Frames:
    """Comma-separated values, quoted as in RFC 4180, with or without a line of column names.

    The source's `separator` may be another character.
    """
    with file.open() as stream:
        # In strict mode a stray quote costs its own record; otherwise it swallows the lines up to the next quote.
        reader = csv.reader(whole_lines(stream, newline=""), strict=True, delimiter=source.separator)
        yield from delimited_rows(_csv_records(reader), source)


def _csv_records(reader: Any) -> Iterator[list[str] | str]:
    """Records, or what is wrong with one: for each of its lines, as a quote that is not closed takes many along."""
    while True:
        lines_before = reader.line_num
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield from [f"the record is not valid CSV: {error}"] * max(1, reader.line_num - lines_before)


FORMAT = Format(
    name="csv",
    layout="comma-separated values, or separated by `separator`; the column `caption` is read unless you name others",
    read=read_csv,
    detect=lambda sample, _: sample.kind == "csv",
)
