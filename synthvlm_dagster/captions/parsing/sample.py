"""A file's name and beginning, as the formats look at them to tell whether it is theirs."""

from __future__ import annotations

import codecs
import json
import re
from functools import cached_property
from typing import Any, Literal

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.first_bytes import compression
from synthvlm_dagster.captions.parsing.parquet_tables import parquet_columns

Kind = Literal["csv", "txt", "parquet", "arrow", "tar", "json lines", "tabs", "json object", "json list"]

_TAR_MARK_AT = 257
_FIRST_FIELD = re.compile(rb'\{\s*"([^"]*)"')


class Sample:
    """What is seen of a file at first sight.

    Args:
        file: where it is; of a parquet file the columns are looked at, when they are asked for.
        head: its beginning.

    Attributes:
        extension: the last part of its name, without what tells a compression.
        start: its beginning without a byte order mark and white space.
    """

    def __init__(self, file: SourceFile, head: bytes) -> None:
        self.extension = file.extension
        self.start = head.removeprefix(codecs.BOM_UTF8).lstrip()
        self._file = file
        self._head = head

    @cached_property
    def kind(self) -> Kind | None:
        """What it is by its extension and, where that does not settle it, by its first bytes; None: neither tells."""
        extension, head = self.extension, self._head
        kinds: tuple[tuple[Kind, bool], ...] = (
            ("csv", extension == "csv"),
            ("txt", extension == "txt"),
            ("parquet", extension == "parquet" or head.startswith(b"PAR1")),
            ("arrow", extension == "arrow" or head.startswith(b"ARROW1")),
            ("tar", extension in ("tar", "tgz") or head[_TAR_MARK_AT:].startswith(b"ustar")),
            ("json lines", extension in ("jsonl", "ndjson")),
            ("tabs", extension in ("tsv", "tab")),
            ("json object", self.start.startswith(b"{")),
            ("json list", self.start.startswith(b"[")),
            ("tabs", b"\t" in self.first_line),
        )
        return next((kind for kind, is_it in kinds if is_it), None)

    @cached_property
    def first_line(self) -> bytes:
        """Without its end; nothing of compressed text, in which a byte that looks like a tab parts no columns."""
        return b"" if compression(self._head) else self.start.partition(b"\n")[0].rstrip(b"\r")

    @property
    def has_tabs(self) -> bool:
        """Whether it is a table whose columns are parted by tabs."""
        return self.kind == "tabs" or (self.kind == "txt" and b"\t" in self.first_line)

    @property
    def fields(self) -> list[bytes]:
        """What stands between the tabs of the first line."""
        return self.first_line.split(b"\t")

    @cached_property
    def first_value(self) -> Any:
        """The JSON value of the first line; None where that is none by itself, or the file holds no JSON objects."""
        if self.kind not in ("json lines", "json object"):
            return None
        try:
            return json.loads(self.start.partition(b"\n")[0])
        except (ValueError, RecursionError):
            return None

    @property
    def first_object(self) -> dict[str, Any] | None:
        """The first value where it is an object."""
        return self.first_value if isinstance(self.first_value, dict) else None

    @property
    def first_field(self) -> bytes | None:
        """The name of the first field of the object that the file is, or begins with."""
        found = _FIRST_FIELD.match(self.start)
        return found[1] if found else None

    @cached_property
    def parquet_columns(self) -> frozenset[str]:
        """Names of a parquet file's columns.

        Raises:
            FormatError: it is no parquet file.
        """
        return frozenset(parquet_columns(self._file))
