"""Rows that do not fit into memory, on the local disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.parquet_files import parquet_batches, parquet_writer


class TemporaryTable:
    """Rows on the local disk for this process alone, for what does not fit into memory.

    The file has no name: it is gone when it is closed, or when the process ends, even by kill -9.
    """

    def __init__(self) -> None:
        """
        Raises:
            StorageError: no file can be made in the system's folder for temporary files ($TMPDIR).
        """
        with _room_for_temporary_files():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it

    def close(self) -> None:
        """Forget the rows."""
        self._file.close()

    @contextmanager
    def writer(self, schema: pl.Schema) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Write the rows, once, by frames that never stand in memory together.

        Yields:
            The function that writes one frame with the columns of `schema`. It raises StorageError when the disk is
            full.
        """
        with parquet_writer(self._file, schema) as write:

            def write_where_there_is_room(frame: pl.DataFrame) -> None:
                with _room_for_temporary_files():
                    write(frame)

            yield write_where_there_is_room

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows in order, a part at a time; one such reading must end before the next begins.

        Args:
            columns: columns to read; None: all.
        """
        yield from parquet_batches(self._file, columns)


@contextmanager
def _room_for_temporary_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{tempfile.gettempdir()}: temporary files cannot be written: {error}. Make room, or set TMPDIR to a "
            "folder on another disk"
        ) from error
