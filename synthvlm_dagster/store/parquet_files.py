"""Parquet files, written and read a part at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import polars as pl

from synthvlm_dagster.store.remote_files import RemoteFile

if TYPE_CHECKING:
    import pyarrow

_BATCH_ROWS = 65_536


@contextmanager
def parquet_writer(
    file: Path | IO[bytes], schema: pl.Schema, notes: Callable[[], Mapping[str, str]] | None = None
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write a file frame by frame.

    Args:
        file: path, or an open file.
        schema: columns of the file; of each frame, these are written.
        notes: tells, when all is written, facts that stand in the file's footer.

    Yields:
        The function that writes one frame, as one row group.
    """
    from pyarrow.parquet import ParquetWriter

    arrow_schema = _to_arrow(pl.DataFrame(schema=schema)).schema
    with ParquetWriter(file, arrow_schema, compression="zstd", compression_level=1) as writer:
        yield lambda frame: writer.write_table(
            _to_arrow(frame.select(schema.names())), row_group_size=max(frame.height, 1)
        )
        if notes:
            writer.add_key_value_metadata(dict(notes()))


def parquet_batches(file: IO[bytes] | io.RawIOBase, columns: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    """The rows of a file in order, at most 65,536 at a time, row group by row group.

    Args:
        file: open for reading, seekable.
        columns: to read; None: all.

    Raises:
        OSError, ValueError, TypeError, LookupError, RuntimeError, SystemError: the file is damaged.
    """
    from pyarrow.parquet import ParquetFile

    # Pre-buffered, the columns of a row group are one read, not one each.
    parquet = ParquetFile(file, pre_buffer=isinstance(file, RemoteFile))
    for group in range(parquet.num_row_groups):
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=columns):
            yield pl.DataFrame(batch)


def parquet_rows_with(file: IO[bytes] | io.RawIOBase, column: str, value: str) -> pl.DataFrame:
    """The rows of a file in which a column has a value, in order.

    Only row groups whose statistics allow the value are read: of a file with one row group for each value, that one.

    Args:
        file: open for reading, seekable.
        column: of strings.
        value: to look for.

    Raises:
        OSError, ValueError, TypeError, LookupError, RuntimeError, SystemError: the file is damaged.
    """
    from pyarrow.parquet import ParquetFile

    parquet = ParquetFile(file, pre_buffer=isinstance(file, RemoteFile))
    place = parquet.schema_arrow.names.index(column)
    groups = []
    for group in range(parquet.num_row_groups):
        found = parquet.metadata.row_group(group).column(place).statistics
        if found is None or not found.has_min_max or found.min <= value <= found.max:
            groups.append(group)
    rows = pl.DataFrame(parquet.read_row_groups(groups) if groups else parquet.schema_arrow.empty_table())
    return rows.filter(pl.col(column) == value)


def _to_arrow(frame: pl.DataFrame) -> pyarrow.Table:
    # Parquet files of string views cannot be read by older readers.
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
