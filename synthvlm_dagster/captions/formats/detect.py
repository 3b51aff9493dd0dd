"""Which format a file is in, by its name and its first bytes."""

from __future__ import annotations

import codecs
import json
import re

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.parquet import detect_parquet
from synthvlm_dagster.recipe import CaptionSource

_HEAD_BYTES = 1 << 16
_TAR_MARK_AT = 257
_URL = re.compile(rb"https?://\S+")
_FIRST_FIELD = re.compile(rb'\{\s*"([^"]*)"')
_SBU_FIELDS = (b"image_urls", b"captions", b"user_ids")


def detect_format(file: SourceFile, source: CaptionSource) -> str | None:
    """The layout of a file by its extension and, where that does not settle it, by its first bytes.

    Returns:
        A key of `READERS`, or None when nothing known fits.
    """
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES)
    extension = file.extension
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if extension in ("csv", "txt"):
        return extension
    if extension == "parquet" or head.startswith(b"PAR1"):
        return detect_parquet(file)
    if extension == "arrow" or head.startswith(b"ARROW1"):
        return "huggingface"
    if extension in ("tar", "tgz") or head[_TAR_MARK_AT:].startswith(b"ustar"):
        return "webdataset"
    if extension in ("jsonl", "ndjson"):
        return "jsonl"
    first_line = start.partition(b"\n")[0].rstrip(b"\r")
    if extension in ("tsv", "tab"):
        return _of_tabs(first_line.split(b"\t"), source)
    if start.startswith(b"{"):
        return _of_object(start)
    if start.startswith(b"["):
        return _of_list(start, source)
    return _of_tabs(first_line.split(b"\t"), source) if b"\t" in first_line else None


def _of_object(start: bytes) -> str:
    """One object for the whole file, or one a line."""
    first_line, line_end, _ = start.partition(b"\n")
    try:
        item = json.loads(first_line)
    except (ValueError, RecursionError):
        first_field = _FIRST_FIELD.match(start)
        return "sbu" if first_field and first_field[1] in _SBU_FIELDS else "coco"
    if isinstance(item.get("annotations"), list):
        return "coco"
    if isinstance(item.get("image_urls"), list) and isinstance(item.get("captions"), list):
        return "sbu"
    return "jsonl" if line_end else "coco"


def _of_list(start: bytes, source: CaptionSource) -> str | None:
    """A list of objects is known by the first of the fields that tell such lists apart."""
    caption = source.columns.text if source.columns else "caption"
    marks = {b'"conversations"': "llava", json.dumps(caption).encode(): "synthvlm"}
    places = {layout: start.find(mark) for mark, layout in marks.items() if mark in start}
    return min(places, key=lambda layout: places[layout], default=None)


def _of_tabs(fields: list[bytes], source: CaptionSource) -> str:
    """Columns that the source names make it a plain table."""
    if source.columns or source.column_names or not source.header:
        known = source.columns is None or source.columns.text.encode() not in fields
        return "partiprompts" if b"Prompt" in fields and source.header and known else "tsv"
    if b"Prompt" in fields:
        return "partiprompts"
    urls = [_URL.fullmatch(field.strip()) is not None for field in fields]
    if urls == [False, True]:
        return "cc3m"
    return "cc12m" if urls == [True, False] else "tsv"
