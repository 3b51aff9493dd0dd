"""Tables as text: comma- and tab-separated values, and the published layouts made of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames, require_columns
from synthvlm_dagster.captions.formats.text import lines, whole_lines
from synthvlm_dagster.captions.rows import MISSING, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

_PARTIPROMPTS = SourceColumns(text="Prompt")
_CAPTION_AND_URL = SourceColumns(text="caption", image="url")


def read_csv(file: SourceFile, source: CaptionSource) -> Frames:
    """Comma-separated values, quoted as in RFC 4180, with or without a line of column names."""
    with file.open() as stream:
        # In strict mode a stray quote costs its own record; otherwise it swallows the lines up to the next quote.
        records = _csv_records(csv.reader(whole_lines(stream, newline=""), strict=True))
        yield from _table(records, source)


def read_tsv(file: SourceFile, source: CaptionSource) -> Frames:
    """Tab-separated values, one record a line, with or without a line of column names.

    Quotes are part of the text, except a pair around a whole field with every quote inside doubled.
    """
    with file.open() as stream:
        records = ([_unquoted(field) for field in line.split("\t")] for line in lines(stream))
        yield from _table(records, source)


def read_partiprompts(file: SourceFile, source: CaptionSource) -> Frames:
    """PartiPrompts: tab-separated with the columns Prompt, Category, Challenge, Note."""
    return read_tsv(file, _with_defaults(source, _PARTIPROMPTS))


def read_cc3m(file: SourceFile, source: CaptionSource) -> Frames:
    """Conceptual Captions 3M: tab-separated caption and url, without a line of column names."""
    return read_tsv(file, _with_defaults(source, _CAPTION_AND_URL, ("caption", "url")))


def read_cc12m(file: SourceFile, source: CaptionSource) -> Frames:
    """Conceptual 12M: tab-separated url and caption, without a line of column names."""
    return read_tsv(file, _with_defaults(source, _CAPTION_AND_URL, ("url", "caption")))


def _with_defaults(source: CaptionSource, columns: SourceColumns, names: tuple[str, ...] = ()) -> CaptionSource:
    """The source's settings over a layout's: its columns, and their order where no header gives it."""
    layout = {"header": not names, "column_names": source.column_names or names}
    return source.model_copy(update={"columns": source.columns or columns, **layout})


def _csv_records(reader: Any) -> Iterator[list[str] | str]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"the record is not valid CSV: {error}"


def _table(records: Iterator[list[str] | str], source: CaptionSource) -> Frames:
    columns = source.columns or SourceColumns()
    first = next(records, None)
    names = [] if source.header else list(source.column_names or ())
    if first is None or not (names or isinstance(first, list)):
        raise FormatError(f"a first line of column names or values is expected, found {first or 'an empty file'}")
    if not source.header:
        records = chain([first], records)
    names = names or (list(first) if source.header else [f"column_{number + 1}" for number in range(len(first))])
    require_columns(columns, names)
    places = [names.index(name) if name else None for name in columns.model_dump().values()]
    return to_frames((_record_row(*item, places, len(names)) for item in enumerate(records)), columns.text)


def _record_row(number: int, record: list[str] | str, places: list[int | None], width: int) -> Row:
    if isinstance(record, str):
        return Row(number, problem=record)
    if not any(record):
        return Row(number, problem="the line is empty")
    if len(record) > width:
        return Row(number, problem=f"the line has {len(record)} fields, expected are {width}")
    found = len(record)
    values: list[Any] = [None if at is None else record[at] if at < found else MISSING for at in places]
    return Row(number, *values)


def _unquoted(field: str) -> str:
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    return field if '"' in inner.replace('""', "") else inner.replace('""', '"')
