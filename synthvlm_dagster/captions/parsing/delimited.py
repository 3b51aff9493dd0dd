"""Tables as text: comma- and tab-separated values, and the published layouts made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.format_errors import FormatError, require_columns
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.parsing.text import lines
from synthvlm_dagster.captions.rows import MISSING, Frames, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

CC3M_COLUMNS = ("caption", "url")
CC12M_COLUMNS = ("url", "caption")
_CAPTION_AND_URL = SourceColumns(text="caption", image="url")
_URL = re.compile("https?://")
_ONLY_URL = re.compile(rb"https?://\S.*")
# Records looked at before columns count as swapped.
_PEEKED = 100


def read_tsv(file: SourceFile, source: CaptionSource) -> Frames:
    """Tab-separated values, one record a line, with or without a line of column names.

    Quotes are part of the text, except a pair around a whole field with every quote inside doubled.
    """
    with file.open() as stream:
        yield from delimited_rows(tsv_records(stream), source)


def names_columns(source: CaptionSource) -> bool:
    """Whether a source names columns of its own, so that the file is no published table."""
    return bool(source.columns or source.column_names or not source.header)


def is_conceptual(sample: Sample, source: CaptionSource, names: tuple[str, ...], are_urls: list[bool]) -> bool:
    """Whether a file is one of Google's Conceptual Captions, by its header or by which of two fields is a URL."""
    if not sample.has_tabs or names_columns(source):
        return False
    has_header = sample.fields == [name.encode() for name in names]
    return has_header or [_ONLY_URL.fullmatch(field.strip()) is not None for field in sample.fields] == are_urls


def read_conceptual(file: SourceFile, source: CaptionSource, names: tuple[str, ...]) -> Frames:
    """A table of captions and URLs, with or without a line of column names.

    Args:
        file: where it is.
        source: its settings.
        names: the columns, in the order in which the layout has them.

    Raises:
        FormatError: the captions are URLs, and the URLs are not.
    """
    with file.open() as stream:
        records = tsv_records(stream)
        peeked = list(islice(records, _PEEKED))
        has_header = source.header and "header" in source.model_fields_set
        names_itself = peeked[:1] in ([list(CC3M_COLUMNS)], [list(CC12M_COLUMNS)])
        if peeked and (has_header or (names_itself and not source.column_names)):
            names = tuple(peeked.pop(0))
        names, columns = source.column_names or names, source.columns or _CAPTION_AND_URL
        if columns == _CAPTION_AND_URL:
            _require_captions_and_urls(peeked, names)
        named = source.model_copy(update={"columns": columns, "header": False, "column_names": names})
        yield from delimited_rows(chain(peeked, records), named)


def _require_captions_and_urls(records: list[list[str]], names: tuple[str, ...]) -> None:
    """Raise FormatError when what should be captions are URLs, and what should be URLs are not."""
    at = [names.index(name) if name in names else -1 for name in CC3M_COLUMNS]
    pairs = [[record[place] for place in at] for record in records if len(record) > max(at)] if min(at) >= 0 else []
    if pairs and all(_URL.match(caption) and not _URL.match(url) for caption, url in pairs):
        raise FormatError(
            "the captions are URLs, and the URLs are not",
            "Set the source's format: cc3m has the caption before the URL, cc12m the URL before the caption",
        )


def tsv_records(stream: BinaryIO) -> Iterator[list[str]]:
    """The fields of each line."""
    return ([_unquoted(field) for field in line.split("\t")] for line in lines(stream))


def delimited_rows(records: Iterator[list[str] | str], source: CaptionSource) -> Frames:
    """Frames of the records of a table.

    Args:
        records: fields of each record, or what is wrong with it; the first holds the columns' names, unless the source
            has none.
        source: its settings.

    Raises:
        FormatError: there is no first record, or a column that the source names is not there.
    """
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
