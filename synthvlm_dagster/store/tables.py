"""Tables of the store: folders of parquet files, of which one file is a table replaced whole, and many are chunks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl
from polars.io.plugins import register_io_source

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.made_from import TABLES_RECORD, MadeFrom
from synthvlm_dagster.store.parquet_files import parquet_batches, parquet_rows_with, parquet_writer
from synthvlm_dagster.store.paths import StoredFiles
from synthvlm_dagster.store.remote_files import opened_ahead
from synthvlm_dagster.store.rows_version import RowsVersion

WHOLE_TABLE = "table.parquet"
UNREADABLE_TABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises where a parquet file is damaged inside; which one, it does not always say."""

_PARQUET = b"PAR1"
_DAMAGED = (OSError, ValueError, TypeError, LookupError, RuntimeError, SystemError)
"""What pyarrow raises for a damaged file, an OSError of its own without a number."""
_READ_BYTES = 1 << 20
_ROWS_AT_A_TIME = 1 << 18
_VERSION = "synthvlm_dagster.version"
"""The note in a parquet file's footer that holds the version of its rows."""


class Tables(StoredFiles):
    """The tables of a store; see `Storage`."""

    def has_table(self, table: str) -> bool:
        """Whether at least one file of the table exists."""
        return bool(self.files(table, ".parquet"))

    def write_table(
        self,
        table: str,
        frame: pl.DataFrame | pl.LazyFrame,
        made_from: MadeFrom | None = None,
    ) -> None:
        """Replace a table kept in one file by the rows of `frame`, a part at a time when it is lazy.

        Args:
            table: the table.
            frame: its rows.
            made_from: what it is made from, see `table_made_from`.

        Raises:
            StorageError: the file cannot be written; the one already there stays.
        """
        with self.table_writer(table, frame.lazy().collect_schema(), made_from) as write:
            for part in frame.lazy().collect_batches(chunk_size=_ROWS_AT_A_TIME, maintain_order=True):
                write(part)

    @contextmanager
    def table_writer(
        self,
        table: str,
        schema: pl.Schema,
        made_from: MadeFrom | Callable[[], MadeFrom] | None = None,
    ) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Replace a table kept in one file by frames that are written one after another and never stand in memory.

        The version of the rows is computed as they pass and stands in the file's footer, so that `version` need not
        read them again.

        Args:
            table: the table.
            schema: its columns.
            made_from: what it is made from, or what tells it when all is written; see `table_made_from`.

        Yields:
            The function that writes one frame with the columns of `schema`. When the block ends without an error the
            table is replaced; after an error or a kill the old one stands as it was.

        Raises:
            StorageError: the file cannot be written.
        """
        rows = RowsVersion(schema)

        def footer() -> dict[str, str]:
            version = rows.version()
            record = made_from() if callable(made_from) else made_from
            of_record = {TABLES_RECORD: record.written(version).model_dump_json()} if record else {}
            return {_VERSION: version, **of_record}

        with (
            self._staged_file(f"{table}/{WHOLE_TABLE}") as staged,
            parquet_writer(staged, schema, footer) as write_rows,
        ):

            def write(frame: pl.DataFrame) -> None:
                rows.add(frame)
                write_rows(frame)

            yield write

    def write_chunk(self, table: str, name: str, frame: pl.DataFrame | pl.LazyFrame) -> None:
        """Write one immutable parquet file `name` of a table kept in many.

        Raises:
            StorageError: the file cannot be written; the files already there stay.
        """
        with self._staged_file(f"{table}/{name}") as staged:
            frame.lazy().sink_parquet(staged)

    def notes(self, table: str) -> dict[str, str]:
        """The notes in the file of a table kept in one file; empty when it has none, or is not there.

        Raises:
            StorageError: the file is damaged or cannot be read.
        """
        from pyarrow.parquet import read_metadata

        path = f"{table}/{WHOLE_TABLE}"
        if not self.exists(path):
            return {}
        # Reads the end of the file alone.
        with self.open(path) as file, self._damage_explained(path):
            found = read_metadata(file).metadata or {}
        return {name.decode(): value.decode() for name, value in found.items()}

    def table_made_from(self, table: str) -> MadeFrom | None:
        """The record of a table kept in one file; None when it carries none, or is not there. Reads the footer alone.

        Raises:
            StorageError: the file is damaged or cannot be read.
        """
        written = self.notes(table).get(TABLES_RECORD)
        return MadeFrom.parse(written) if written else None

    def version(self, table: str) -> str:
        """Fingerprint of a table's content: equal rows, equal version; empty when the table has no file.

        A table kept in one file tells it in its footer; one that another program wrote is read. Files of chunked tables
        are named by their content, so that names and sizes tell them apart.

        Raises:
            StorageError: a file is damaged or cannot be read.
        """
        if written := self.notes(table).get(_VERSION):
            return written
        digest = hashlib.blake2b(digest_size=8)
        paths = self.files(table, ".parquet")
        for path in paths:
            digest.update(path.encode() + b"\0")
            if path.endswith(f"/{WHOLE_TABLE}"):
                with self.open(path) as file:
                    while block := file.read(_READ_BYTES):
                        digest.update(block)
            else:
                digest.update(str(self.size(path)).encode())
            digest.update(b"\0")
        return digest.hexdigest() if paths else ""

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows of a table in order, a part at a time, so that they never stand in memory together.

        Args:
            table: the table.
            columns: columns to read; None: all.

        Raises:
            StorageError: the table has no file yet.
        """
        paths = self.files(table, ".parquet")
        if not paths:
            raise _missing_table(self.url(table))
        for path in paths:
            with self.open(path) if self._is_local else self._open_remote(path) as file, self._damage_explained(path):
                yield from parquet_batches(file, columns)

    def rows_with(self, table: str, column: str, value: str) -> pl.DataFrame:
        """The rows of a table kept in one file in which a column of strings has a value, in order.

        Reads the file's footer and the row groups that may hold the value, also from an object store: little of a
        file that has a row group for each value.

        Raises:
            StorageError: the table has no file yet, or it is damaged.
        """
        path = f"{table}/{WHOLE_TABLE}"
        if not self.exists(path):
            raise _missing_table(self.url(table))
        with self.open(path) if self._is_local else self._open_remote(path) as file, self._damage_explained(path):
            return parquet_rows_with(file, column, value)

    def scan(self, table: str) -> pl.LazyFrame:
        """The rows of every file below the table's folder, lazily, in order of file name.

        Raises:
            StorageError: the table has no file yet, or is one file on a disk that is cut or no parquet file.
        """
        paths = self.files(table, ".parquet")
        if not paths:
            raise _missing_table(self.url(table))
        # Of a table in many files the damaged ones are quarantined where it is made again.
        for path in paths:
            if self._is_local and path.endswith(f"/{WHOLE_TABLE}"):
                _require_parquet(self._full(path))
        return self.scan_files(paths)

    def scan_files(self, paths: list[str]) -> pl.LazyFrame:
        """The rows of the given parquet files (at least one), lazily, in the given order.

        From an object store only the columns that a query needs are fetched, row group by row group, by the same
        client that writes: its credentials, endpoint and retries hold for both. Damage in a local file shows, as an
        error of polars, when the rows are read; `damaged_tables` tells where.

        Raises:
            StorageError: on an object store, the first file cannot be fetched; a query raises it for the others.
        """
        if self._is_local:
            full = [self._full(path) for path in paths]
            return pl.scan_parquet(full, hive_partitioning=False, glob=False)

        from pyarrow.parquet import ParquetFile

        with self._open_remote(paths[0]) as file:
            schema = pl.DataFrame(ParquetFile(file).schema_arrow.empty_table()).schema

        def read(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            for file in opened_ahead(paths, self._open_remote):
                for frame in parquet_batches(file, columns):
                    part = frame if rows is None else frame.head(rows)
                    yield part if predicate is None else part.filter(predicate)
                    if rows is not None:
                        rows -= part.height
                        if not rows:
                            return

        return register_io_source(read, schema=schema, explain_name="parquet", explain_detail=self.url(paths[0]))

    def damaged_tables(self, left_out: Sequence[str] = ()) -> list[str]:
        """Locations of parquet files that cannot be read to their end.

        Args:
            left_out: folders that are not looked into.
        """
        found = []
        for path in self.files("", ".parquet"):
            if path.startswith(tuple(f"{folder}/" for folder in left_out)):
                continue
            try:
                for _ in self.scan_files([path]).collect_batches():
                    pass
            except (StorageError, *UNREADABLE_TABLE, *_DAMAGED):
                found.append(self.url(path))
        return found

    @contextmanager
    def _damage_explained(self, path: str) -> Iterator[None]:
        """Turn what pyarrow finds wrong with an open parquet file into a StorageError."""
        try:
            yield
        except _DAMAGED as error:
            if getattr(error, "errno", None):
                raise StorageError(f"{self.url(path)}: cannot be read: {error}") from error
            raise _damaged_table(self.url(path), str(error)) from error


def _require_parquet(file: str) -> None:
    """Look at the ends of a parquet file: `PAR1`, and before the last of them the length of the footer."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - a path of a store, as text
            first = stream.read(4)
            length = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, length - 8))
            last = stream.read(8)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error}") from error
    if first != _PARQUET or last[4:] != _PARQUET or int.from_bytes(last[:4], "little") > length - 12:
        raise _damaged_table(file, "it is cut, or no parquet file")


def _damaged_table(url: str, reason: str) -> StorageError:
    return StorageError(f"{url}: is damaged: {reason}. Delete it, and materialize the asset that writes it")


def _missing_table(url: str) -> StorageError:
    return StorageError(f"{url}: no such table; materialize the asset that writes it first")
