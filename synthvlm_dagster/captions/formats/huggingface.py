"""Data files of Hugging Face datasets: parquet as on the hub, arrow as `save_to_disk` writes it."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.format_errors import FormatError
from synthvlm_dagster.captions.parsing.parquet_tables import read_parquet_table
from synthvlm_dagster.captions.parsing.web_tables import select_columns
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource

_PARQUET_MAGIC = b"PAR1"
_ARROW_FILE_MAGIC = b"ARROW1"


def read_huggingface(file: SourceFile, source: CaptionSource) -> Frames:
    """One data file of a dataset, parquet or arrow; the columns are those of a published layout where they tell one.

    Of an image column (a struct of bytes and path) image_uri is the path; null where there are only bytes.
    """
    from synthvlm_dagster.captions.formats import published_table_with

    with file.open() as stream:
        head = stream.read(len(_ARROW_FILE_MAGIC))
    if head.startswith(_PARQUET_MAGIC):
        return read_parquet_table(file, source, published_table_with)
    return _read_arrow(file, source, is_stream=head != _ARROW_FILE_MAGIC)


def _read_arrow(file: SourceFile, source: CaptionSource, *, is_stream: bool) -> Frames:
    import pyarrow as pa

    from synthvlm_dagster.captions.formats import published_table_with
    from synthvlm_dagster.captions.parsing.arrow import read_batches, without_image_bytes

    open_reader = pa.ipc.open_stream if is_stream else pa.ipc.open_file
    try:
        with file.open() as stream:
            schema = open_reader(stream).schema
        selection = select_columns(published_table_with(schema.names), source, schema.names)
        wanted = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in selection.names])
        with file.open() as stream:
            reader = open_reader(stream, options=wanted)
            batches = reader if is_stream else map(reader.get_batch, range(reader.num_record_batches))
            yield from read_batches(map(without_image_bytes, batches), selection)
    # A damaged length makes pyarrow ask a Python file for a negative number of bytes.
    except (pa.ArrowException, SystemError) as error:
        raise FormatError(f"an arrow or parquet file is expected: {error}") from error


FORMAT = Format(
    name="huggingface",
    layout="folder of a datasets repository or of `save_to_disk`; say so: `format: huggingface`",
    read=read_huggingface,
    detect=lambda sample, _: sample.kind == "arrow",
    is_text=False,
)
