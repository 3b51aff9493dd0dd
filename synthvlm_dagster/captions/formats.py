"""The layouts caption files come in, each with the function that reads it.

A reader takes an open file and the source's settings, and yields frames with the columns of `rows.ROW_SCHEMA`. A row
it cannot use carries its problem; a file that is not in the layout at all raises FormatError.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl

from synthvlm_dagster.captions.rows import MISSING, Row, is_unicode, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

Frames = Iterator[pl.DataFrame]
Reader = Callable[[BinaryIO, CaptionSource], Frames]

PARTIPROMPTS_COLUMNS = SourceColumns(text="Prompt")
# JSON lines looked at before a field that none of them has counts as a wrong name.
_PEEKED_LINES = 1000
# Each undecodable byte becomes a lone surrogate, which marks the one row that holds it.
_UNDECODABLE = "surrogateescape"
# The fields that tell JSON lists apart.
_LIST_MARKS = {b'"conversations"': "llava", b'"caption"': "synthvlm"}


class FormatError(ValueError):
    """The file is not in the layout that it was read as; the message says what was expected and found."""


def read_llava(file: BinaryIO, _: CaptionSource) -> Frames:
    """LLaVA's training layout: a JSON list of `{id, image, conversations: [{from, value}]}`.

    Every turn of `gpt` is a caption; an item may have no image.
    """
    items = _list_of_objects(_json(file), "conversations", "llava")
    return to_frames(_llava_rows(items), "the gpt value")


def read_synthvlm(file: BinaryIO, _: CaptionSource) -> Frames:
    """The official SynthVLM input: a JSON list of `{id, caption}`."""
    items = _list_of_objects(_json(file), "caption", "synthvlm")
    return to_frames(_object_rows(((item, None) for item in items), SourceColumns(image="image")), "caption")


def read_coco(file: BinaryIO, _: CaptionSource) -> Frames:
    """COCO captions: a JSON object with `images: [{id, file_name}]` and `annotations: [{image_id, id, caption}]`."""
    content = _json(file)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise FormatError(f"a JSON object with a list `annotations` is expected (format coco), found {_shape(content)}")
    _list_of_objects(annotations, "caption", "coco")
    images = content.get("images")
    names = {
        image.get("id"): image.get("file_name")
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and isinstance(image.get("id"), int | str)
    }
    return to_frames(_coco_rows(annotations, names), "caption")


def read_jsonl(file: BinaryIO, source: CaptionSource) -> Frames:
    """One JSON object a line, with the fields that the source's `columns` name."""
    parsed = (_parsed_line(line) for line in _lines(file))
    peeked = list(islice(parsed, _PEEKED_LINES))
    fields = {field for item, _ in peeked if isinstance(item, dict) for field in item}
    _require_columns(_columns(source), sorted(fields))
    return to_frames(_object_rows(chain(peeked, parsed), _columns(source)), _columns(source).text)


def read_txt(file: BinaryIO, _: CaptionSource) -> Frames:
    """One caption a line."""
    return to_frames((Row(number, line) for number, line in enumerate(_lines(file))), "the line")


def read_csv(file: BinaryIO, source: CaptionSource) -> Frames:
    """Comma-separated values, quoted as in RFC 4180, with or without a line of column names."""
    # In strict mode a stray quote costs its own record; otherwise it swallows the lines up to the next quote.
    records = _csv_records(csv.reader(_text_stream(file, newline=""), strict=True))
    return _table_rows(records, _columns(source), header=source.header)


def read_tsv(file: BinaryIO, source: CaptionSource) -> Frames:
    """Tab-separated values, one record a line, with or without a line of column names.

    Quotes are part of the text, except a pair around a whole field with every quote inside doubled.
    """
    records = ([_unquoted(field) for field in line.split("\t")] for line in _lines(file))
    return _table_rows(records, _columns(source), header=source.header)


def read_partiprompts(file: BinaryIO, source: CaptionSource) -> Frames:
    """PartiPrompts: tab-separated with the columns Prompt, Category, Challenge, Note."""
    partiprompts = source.model_copy(update={"header": True, "columns": PARTIPROMPTS_COLUMNS})
    return read_tsv(file, partiprompts)


def read_parquet(file: BinaryIO, source: CaptionSource) -> Frames:
    """A parquet table with the columns that the source's `columns` name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file if _has_random_access(file) else io.BytesIO(file.read()))
        _require_columns(_columns(source), parquet.schema_arrow.names)
        yield from to_frames(_parquet_rows(parquet, _columns(source)), _columns(source).text)
    except pa.ArrowException as error:
        raise FormatError(f"a parquet file is expected: {error}") from error


READERS: dict[str, Reader] = {
    "llava": read_llava,
    "synthvlm": read_synthvlm,
    "coco": read_coco,
    "partiprompts": read_partiprompts,
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "txt": read_txt,
    "parquet": read_parquet,
}


def detect_format(extension: str, head: bytes, columns: SourceColumns) -> str | None:
    """The layout of a file by its extension and, where that does not settle it, by its first bytes.

    Args:
        extension: lower-case, without dot and without a compression's, e.g. `json`.
        head: the first thousands of bytes of the content.
        columns: the source's columns: a TSV that has the named text column is no PartiPrompts file.

    Returns:
        A key of `READERS`, or None when nothing known fits.
    """
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    first_line, line_end, _ = start.partition(b"\n")
    if extension in ("csv", "txt"):
        return extension
    if extension == "parquet" or head.startswith(b"PAR1"):
        return "parquet"
    if extension in ("jsonl", "ndjson") or (line_end and _is_json_object(first_line)):
        return "jsonl"
    if start.startswith(b"{"):
        return "coco"
    if start.startswith(b"["):
        places = {layout: start.find(mark) for mark, layout in _LIST_MARKS.items() if mark in start}
        return min(places, key=lambda layout: places[layout], default=None)
    if extension in ("tsv", "tab") or b"\t" in first_line:
        names = first_line.rstrip(b"\r").split(b"\t")
        return "partiprompts" if b"Prompt" in names and columns.text.encode() not in names else "tsv"
    return None


def _columns(source: CaptionSource) -> SourceColumns:
    return source.columns or SourceColumns()


def _is_json_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _llava_rows(items: list[Any]) -> Iterator[Row]:
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            yield Row(number, problem="the item is not a JSON object")
            continue
        turns = item.get("conversations")
        if not isinstance(turns, list):
            yield Row(number, problem="conversations is missing or not a list")
            continue
        values = [turn.get("value", MISSING) for turn in turns if isinstance(turn, dict) and turn.get("from") == "gpt"]
        if not values:
            yield Row(number, problem="conversations has no turn of gpt")
        for value in values:
            yield Row(number, value, item.get("image"))


def _coco_rows(annotations: list[Any], names: dict[Any, Any]) -> Iterator[Row]:
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict):
            image_id = annotation.get("image_id")
            name = names.get(image_id) if isinstance(image_id, int | str) else None
            yield Row(number, annotation.get("caption", MISSING), name)
        else:
            yield Row(number, problem="the annotation is not a JSON object")


def _object_rows(items: Iterable[tuple[Any, str | None]], columns: SourceColumns) -> Iterator[Row]:
    for number, (item, problem) in enumerate(items):
        if isinstance(item, dict):
            yield Row(
                number,
                item.get(columns.text, MISSING),
                item.get(columns.image) if columns.image else None,
                item.get(columns.clip_similarity) if columns.clip_similarity else None,
            )
        else:
            yield Row(number, problem=problem or "the item is not a JSON object")


def _parsed_line(line: str) -> tuple[Any, str | None]:
    if not line.strip():
        return None, "the line is empty"
    if not is_unicode(line):
        return None, "the line is not valid UTF-8"
    try:
        return json.loads(line), None
    except (ValueError, RecursionError):
        return None, "the line is not valid JSON"


def _csv_records(reader: Any) -> Iterator[list[str] | str]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"the record is not valid CSV: {error}"


def _table_rows(records: Iterator[list[str] | str], columns: SourceColumns, header: bool) -> Frames:
    first = next(records, None)
    if not isinstance(first, list):
        raise FormatError(f"a first line of column names or values is expected, found {first or 'an empty file'}")
    names = first if header else [f"column_{number}" for number in range(1, len(first) + 1)]
    _require_columns(columns, names)
    places = [names.index(name) if name else None for name in (columns.text, columns.image, columns.clip_similarity)]
    data = records if header else chain([first], records)
    return to_frames((_record_row(*item, places, len(names)) for item in enumerate(data)), columns.text)


def _record_row(number: int, record: list[str] | str, places: list[int | None], width: int) -> Row:
    if isinstance(record, str):
        return Row(number, problem=record)
    if not any(record):
        return Row(number, problem="the line is empty")
    if len(record) > width:
        return Row(number, problem=f"the line has {len(record)} fields, expected are {width}")
    text, image, similarity = (
        None if place is None else record[place] if place < len(record) else MISSING for place in places
    )
    return Row(number, text, image, similarity)


def _parquet_rows(parquet: ParquetFile, columns: SourceColumns) -> Iterator[Row]:
    names = (columns.text, columns.image, columns.clip_similarity)
    number = 0
    for batch in parquet.iter_batches(columns=[name for name in names if name]):
        values = [_decoded(batch.column(name)) if name else repeat(None) for name in names]
        for row in zip(range(number, number + batch.num_rows), *values, strict=False):
            yield Row(*row)
        number += batch.num_rows


def _has_random_access(file: BinaryIO) -> bool:
    """False for a stream that decompresses as it goes: parquet is read from its end."""
    try:
        file.seek(0, io.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        return False
    return True


def _decoded(column: Array) -> list[Any]:
    """Python values; text and binary are decoded like a text file's, since parquet does not promise valid UTF-8."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            column = column.cast(pa.large_binary())
    values = column.to_pylist()
    return [value.decode("utf-8", _UNDECODABLE) if isinstance(value, bytes) else value for value in values]


def _require_columns(columns: SourceColumns, existing: list[str]) -> None:
    for setting, name in columns.model_dump().items():
        if name and name not in existing:
            listed = ", ".join(existing) if existing else "none"
            raise FormatError(f"there is no column {name}; columns are {listed}. Set columns.{setting} of the source")


def _list_of_objects(content: Any, field: str, layout: str) -> list[Any]:
    if not isinstance(content, list):
        raise FormatError(f"a JSON list is expected (format {layout}), found {_shape(content)}")
    if content and not any(isinstance(item, dict) and field in item for item in content):
        raise FormatError(f"no item has the field {field} (format {layout}); the first is {_shape(content[0])}")
    return content


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:10]) or 'no fields'}"
    return "a list" if isinstance(value, list) else f"{type(value).__name__} {str(value)[:40]!r}"


def _json(file: BinaryIO) -> Any:
    try:
        return json.loads(_text_stream(file, newline="\n").read())
    except json.JSONDecodeError as error:
        raise FormatError(f"line {error.lineno}, column {error.colno} is not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise FormatError("the JSON is nested too deeply") from error


def _lines(file: BinaryIO) -> Iterator[str]:
    return (line.removesuffix("\n").removesuffix("\r") for line in _text_stream(file, newline="\n"))


def _text_stream(file: BinaryIO, newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors=_UNDECODABLE, newline=newline)


def _unquoted(field: str) -> str:
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    return field if '"' in inner.replace('""', "") else inner.replace('""', '"')
