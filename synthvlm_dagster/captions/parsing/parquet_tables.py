"""Parquet tables, of any columns and in the published layouts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.format_errors import FormatError
from synthvlm_dagster.captions.parsing.web_tables import WebTable, select_columns
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BATCH_ROWS = 50_000


def parquet_columns(file: SourceFile) -> list[str]:
    """Names of a parquet file's columns.

    Raises:
        FormatError: it is no parquet file.
    """
    with _opened(file) as parquet:
        return list(parquet.schema_arrow.names)


def read_parquet_table(
    file: SourceFile, source: CaptionSource, table: WebTable | Callable[[Sequence[str]], WebTable]
) -> Frames:
    """A parquet table.

    Args:
        file: where it is.
        source: its settings.
        table: where the layout has what; or what tells the layout by the columns' names.

    Raises:
        FormatError: it is no parquet file, or lacks a column.
    """
    from synthvlm_dagster.captions.parsing.arrow import is_image, read_batches

    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        layout = table if isinstance(table, WebTable) else table(schema.names)
        selection = select_columns(layout, source, schema.names)
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
