"""Parquet tables, of any columns and in the published layouts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames, Reader
from synthvlm_dagster.captions.formats.web_tables import PLAIN, WebTable, detect_web_table, select_columns
from synthvlm_dagster.recipe import CaptionSource

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BATCH_ROWS = 50_000


def parquet_reader(table: WebTable) -> Reader:
    """The reader of parquet files in one layout."""

    def read(file: SourceFile, source: CaptionSource) -> Frames:
        return _read(file, source, table)

    return read


read_parquet = parquet_reader(PLAIN)
"""A parquet table with the columns that the source's `columns` name."""


def read_detected_parquet(file: SourceFile, source: CaptionSource) -> Frames:
    """A parquet table in the published layout that its columns tell, or in none."""
    return _read(file, source, None)


def detect_parquet(file: SourceFile) -> str:
    """The format of a parquet file by its columns: a published layout, else `parquet`.

    Raises:
        FormatError: it is no parquet file.
    """
    with _opened(file) as parquet:
        return detect_web_table(parquet.schema_arrow.names) or "parquet"


def _read(file: SourceFile, source: CaptionSource, table: WebTable | None) -> Frames:
    from synthvlm_dagster.captions.formats.arrow import is_image, read_batches

    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        selection = select_columns(table, source, schema.names)
        # Of an image the bytes stay unread.
        leaves = [f"{name}.path" if is_image(schema.field(name).type) else name for name in selection.names]
        # What is read ahead of a row group is held until the next one is asked for by itself.
        batches = chain.from_iterable(
            parquet.iter_batches(_BATCH_ROWS, row_groups=[group], columns=leaves)
            for group in range(parquet.num_row_groups)
        )
        yield from read_batches(batches, selection)


@contextmanager
def _opened(file: SourceFile) -> Iterator[ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open() as stream, tempfile.TemporaryFile() as unpacked:
        if file.compression:
            # Parquet is read from its end, which a stream that decompresses as it goes cannot reach.
            shutil.copyfileobj(stream, unpacked)
        try:
            yield pq.ParquetFile(unpacked if file.compression else stream, pre_buffer=True)
        except pa.ArrowException as error:
            raise FormatError(f"a parquet file is expected: {error}") from error
