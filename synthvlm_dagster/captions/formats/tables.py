"""Tables as text: comma- and tab-separated values, and the published layouts made of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames, require_columns
from synthvlm_dagster.captions.formats.text import lines, whole_lines
from synthvlm_dagster.captions.rows import MISSING, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

CC3M_COLUMNS = ("caption", "url")
CC12M_COLUMNS = ("url", "caption")
_PARTIPROMPTS = SourceColumns(text="Prompt")
_CAPTION_AND_URL = SourceColumns(text="caption", image="url")
_URL = re.compile("https?://")
# Records looked at before columns count as swapped.
_PEEKED = 100


def read_csv(file: SourceFile, source: CaptionSource) -> Frames:
    """Comma-separated values, quoted as in RFC 4180, with or without a line of column names.

    The source's `separator` may be another character.
    """
    with file.open() as stream:
        # In strict mode a stray quote costs its own record; otherwise it swallows the lines up to the next quote.
        reader = csv.reader(whole_lines(stream, newline=""), strict=True, delimiter=source.separator)
        yield from _table(_csv_records(reader), source)


def read_tsv(file: SourceFile, source: CaptionSource) -> Frames:
    """Tab-separated values, one record a line, with or without a line of column names.

    Quotes are part of the text, except a pair around a whole field with every quote inside doubled.
    """
    with file.open() as stream:
        yield from _table(_tsv_records(stream), source)


def read_partiprompts(file: SourceFile, source: CaptionSource) -> Frames:
    """PartiPrompts: tab-separated with the columns Prompt, Category, Challenge, Note."""
    return read_tsv(file, source.model_copy(update={"columns": source.columns or _PARTIPROMPTS, "header": True}))


def read_cc3m(file: SourceFile, source: CaptionSource) -> Frames:
    """Conceptual Captions 3M: tab-separated caption and url.

    It is published without a line of column names; the line that img2dataset's guide adds is one where it stands.
    """
    return _read_conceptual(file, source, CC3M_COLUMNS)


def read_cc12m(file: SourceFile, source: CaptionSource) -> Frames:
    """Conceptual 12M: tab-separated url and caption; as `read_cc3m`."""
    return _read_conceptual(file, source, CC12M_COLUMNS)


def _read_conceptual(file: SourceFile, source: CaptionSource, names: tuple[str, ...]) -> Frames:
    with file.open() as stream:
        records = _tsv_records(stream)
        peeked = list(islice(records, _PEEKED))
        has_header = source.header and "header" in source.model_fields_set
        names_itself = peeked[:1] in ([list(CC3M_COLUMNS)], [list(CC12M_COLUMNS)])
        if peeked and (has_header or (names_itself and not source.column_names)):
            names = tuple(peeked.pop(0))
        names, columns = source.column_names or names, source.columns or _CAPTION_AND_URL
        if columns == _CAPTION_AND_URL:
            _require_captions_and_urls(peeked, names)
        named = source.model_copy(update={"columns": columns, "header": False, "column_names": names})
        yield from _table(chain(peeked, records), named)


def _require_captions_and_urls(records: list[list[str]], names: tuple[str, ...]) -> None:
    """Raise FormatError when what should be captions are URLs, and what should be URLs are not."""
    at = [names.index(name) if name in names else -1 for name in CC3M_COLUMNS]
    pairs = [[record[place] for place in at] for record in records if len(record) > max(at)] if min(at) >= 0 else []
    if pairs and all(_URL.match(caption) and not _URL.match(url) for caption, url in pairs):
        raise FormatError(
            "the captions are URLs, and the URLs are not",
            "Set the source's format: cc3m has the caption before the URL, cc12m the URL before the caption",
        )


def _tsv_records(stream: BinaryIO) -> Iterator[list[str]]:
    return ([_unquoted(field) for field in line.split("\t")] for line in lines(stream))


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


def _table(records: Iterator[list[str] | str], source: CaptionSource) -> Frames:
    columns = source.columns or SourceColumns()
    first = next(records, None)
    names = [] if source.header else list(source.column_names or ())
    if first is None or not (names or isinstance(first, list)):
        raise FormatError(f"a first line of column names or values is expected, found {first or 'an empty file'}")
    if not source.header:
        records = chain([first], records)
        names = names or [f"column_{number + 1}" for number in range(len(first))]
    else:
        # Some write a space after each separator.
        names = [name.strip() for name in first]
    require_columns(columns, names, _header_hint(names, source))
    places = [names.index(name) if name else None for name in columns.model_dump().values()]
    return to_frames((_record_row(*item, places, len(names)) for item in enumerate(records)), columns.text)


def _header_hint(names: list[str], source: CaptionSource) -> str:
    if not source.header:
        return "Name the columns, in order: column_names" if not source.column_names else ""
    separator = next((sign for sign in "\t;|" if len(names) == 1 and sign in names[0]), None)
    if separator == "\t":
        return "The columns seem to be separated by tabs: set format: tsv"
    if separator:
        return f"The columns seem to be separated by {separator}: set format: csv and separator: '{separator}'"
    return "If the first line is a record, set header: false and name the columns, in order: column_names"


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
