"""Which format a file is in, by its name and its first bytes."""

from __future__ import annotations

import codecs
import json
import re

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError
from synthvlm_dagster.captions.formats.first_bytes import compression
from synthvlm_dagster.captions.formats.parquet import detect_parquet
from synthvlm_dagster.captions.formats.tables import CC3M_COLUMNS, CC12M_COLUMNS
from synthvlm_dagster.recipe import CaptionSource

_TAR_MARK_AT = 257
_URL = re.compile(rb"https?://\S.*")
_FIRST_FIELD = re.compile(rb'\{\s*"([^"]*)"')
_COCO_FIELDS = {"info", "images", "annotations", "licenses", "type"}
_SBU_FIELDS = (b"image_urls", b"captions", b"user_ids")


def detect_format(file: SourceFile, head: bytes, source: CaptionSource) -> str | None:
    """The layout of a file by its extension and, where that does not settle it, by its first bytes.

    Args:
        file: where it is; of a parquet file the columns are looked at.
        head: its beginning.
        source: its settings.

    Returns:
        A key of `READERS`, or None when nothing known fits.

    Raises:
        FormatError: it is no parquet file, or a .txt file that may be a table.
    """
    extension = file.extension
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    # A byte of compressed text that looks like a tab parts no columns.
    first_line = b"" if compression(head) else start.partition(b"\n")[0].rstrip(b"\r")
    if extension == "csv":
        return extension
    if extension == "txt":
        return _of_lines(first_line, source)
    if extension == "parquet" or head.startswith(b"PAR1"):
        return detect_parquet(file)
    if extension == "arrow" or head.startswith(b"ARROW1"):
        return "huggingface"
    if extension in ("tar", "tgz") or head[_TAR_MARK_AT:].startswith(b"ustar"):
        return "webdataset"
    if extension in ("jsonl", "ndjson"):
        return _of_object(start, by_line=True)
    if extension in ("tsv", "tab"):
        return _of_tabs(first_line.split(b"\t"), source)
    if start.startswith(b"{"):
        return _of_object(start)
    if start.startswith(b"["):
        return _of_list(start, source)
    return _of_tabs(first_line.split(b"\t"), source) if b"\t" in first_line else None


def _of_object(start: bytes, *, by_line: bool = False) -> str:
    """One object for the whole file, or one a line."""
    try:
        item = json.loads(start.partition(b"\n")[0])
    except (ValueError, RecursionError):
        item = None
    if isinstance(item, dict):
        if isinstance(item.get("conversations"), list) and "caption" not in item:
            return "llava"
        if item.keys() <= _COCO_FIELDS:
            return "coco"
        if isinstance(item.get("image_urls"), list):
            return "sbu"
    if item is not None or by_line:
        return "jsonl"
    first_field = _FIRST_FIELD.match(start)
    return "sbu" if first_field and first_field[1] in _SBU_FIELDS else "coco"


def _of_list(start: bytes, source: CaptionSource) -> str:
    """A list of objects is known by the first of the fields that tell such lists apart."""
    caption = source.columns.text if source.columns else "caption"
    marks = {b'"conversations"': "llava", json.dumps(caption).encode(): "synthvlm"}
    places = {layout: start.find(mark) for mark, layout in marks.items() if mark in start}
    # Neither: the reader of such lists says which fields there are.
    return min(places, key=lambda layout: places[layout], default="synthvlm")


def _of_lines(first_line: bytes, source: CaptionSource) -> str:
    """One caption a line, unless the first has tabs."""
    if b"\t" not in first_line:
        return "txt"
    layout = _of_tabs(first_line.split(b"\t"), source)
    if layout == "tsv":
        raise FormatError(
            "the first line has tabs, so that the file may be a table",
            "Set format: tsv (its columns are named by the first line, or by header: false and column_names), or "
            "format: txt if every line is a caption, tabs and all",
        )
    return layout


def _of_tabs(fields: list[bytes], source: CaptionSource) -> str:
    """Columns that the source names make it a plain table."""
    if source.columns or source.column_names or not source.header:
        known = source.columns is None or source.columns.text.encode() not in fields
        return "partiprompts" if b"Prompt" in fields and source.header and known else "tsv"
    if b"Prompt" in fields:
        return "partiprompts"
    for layout, names in (("cc3m", CC3M_COLUMNS), ("cc12m", CC12M_COLUMNS)):
        if fields == [name.encode() for name in names]:
            return layout
    urls = [_URL.fullmatch(field.strip()) is not None for field in fields]
    if urls == [False, True]:
        return "cc3m"
    return "cc12m" if urls == [True, False] else "tsv"
