"""The version of a table: a digest of its columns and rows alone.

It is the same however the rows are cut into batches and row groups, whatever wrote the file and however it compresses:
so a table that is made again with the same content keeps its version, and nothing that is made of it is made again.
"""

from __future__ import annotations

import hashlib

import polars as pl

_DIGEST_BYTES = 8


def rows_version(frame: pl.DataFrame) -> str:
    """The version of a whole frame; see `RowsVersion`."""
    rows = RowsVersion(frame.schema)
    rows.add(frame)
    return rows.version()


class RowsVersion:
    """The digest of frames that are the rows of one table, one after another.

    Args:
        schema: the table's columns.
    """

    def __init__(self, schema: pl.Schema) -> None:
        self._schema = schema
        # A column is digested by itself: where one batch ends and the next begins leaves no trace in it.
        self._columns = [_Column() for _ in schema]

    def add(self, frame: pl.DataFrame) -> None:
        """Go on with more rows.

        Args:
            frame: with the columns of the schema; others are not looked at.
        """
        for name, column in zip(self._schema, self._columns, strict=True):
            column.add(frame[name])

    def version(self) -> str:
        """16 hexadecimal digits for the rows so far, and the names and types of their columns."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for (name, dtype), column in zip(self._schema.items(), self._columns, strict=True):
            digest.update(f"{name}\0{dtype}\0".encode())
            column.close(digest)
        return digest.hexdigest()


class _Column:
    """Digests of the flat parts that a column's values consist of, such as lengths and letters of texts."""

    def __init__(self) -> None:
        self._parts: dict[str, hashlib.blake2b] = {}

    def add(self, values: pl.Series, place: str = "") -> None:
        """Go on with more values.

        Args:
            values: of the column, or of what is inside them.
            place: where inside the column's values they are; empty for the column itself.
        """
        dtype = values.dtype
        self._update(f"{place} null", values.is_null().cast(pl.UInt8))
        if isinstance(dtype, pl.Struct):
            for field in dtype.fields:
                self.add(values.struct.field(field.name), f"{place}.{field.name}")
        elif isinstance(dtype, pl.List | pl.Array):
            lists = values.arr.to_list() if isinstance(dtype, pl.Array) else values
            lengths = lists.list.len().fill_null(0)
            self._update(f"{place} length", lengths.cast(pl.Int64))
            self.add(lists.filter(lengths > 0).explode(), f"{place}[]")
        elif dtype == pl.Binary:
            self._update(f"{place} length", values.bin.size().cast(pl.Int64).fill_null(0))
            self._part(f"{place} content").update(b"".join(values.drop_nulls()))
        elif dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
            flat = values.to_physical()
            self._update(f"{place} values", (flat.cast(pl.UInt8) if dtype == pl.Boolean else flat).fill_null(0))
        else:
            texts = values.cast(pl.String)
            self._update(f"{place} length", texts.str.len_bytes().cast(pl.Int64).fill_null(0))
            self._part(f"{place} content").update(texts.str.join("", ignore_nulls=True).item().encode())

    def close(self, digest: hashlib.blake2b) -> None:
        """Add the column to the digest of the table."""
        for name, part in sorted(self._parts.items()):
            digest.update(f"{name}\0".encode() + part.digest())

    def _update(self, name: str, values: pl.Series) -> None:
        self._part(name).update(values.to_numpy().tobytes())

    def _part(self, name: str) -> hashlib.blake2b:
        return self._parts.setdefault(name, hashlib.blake2b(digest_size=_DIGEST_BYTES))
