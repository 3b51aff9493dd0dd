"""Data files of Hugging Face datasets: parquet as on the hub, arrow as `save_to_disk` writes it."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames
from synthvlm_dagster.captions.formats.parquet import read_detected_parquet
from synthvlm_dagster.captions.formats.web_tables import select_columns
from synthvlm_dagster.recipe import CaptionSource

_PARQUET_MAGIC = b"PAR1"
_ARROW_FILE_MAGIC = b"ARROW1"


def read_huggingface(file: SourceFile, source: CaptionSource) -> Frames:
    """One data file of a dataset, parquet or arrow; the columns are those of a published layout where they tell one.

    Of an image column (a struct of bytes and path) image_uri is the path; null where there are only bytes.
    """
    with file.open() as stream:
        head = stream.read(len(_ARROW_FILE_MAGIC))
    if head.startswith(_PARQUET_MAGIC):
        return read_detected_parquet(file, source)
    return _read_arrow(file, source, is_stream=head != _ARROW_FILE_MAGIC)


def _read_arrow(file: SourceFile, source: CaptionSource, *, is_stream: bool) -> Frames:
    import pyarrow as pa

    from synthvlm_dagster.captions.formats.arrow import read_batches, without_image_bytes

    open_reader = pa.ipc.open_stream if is_stream else pa.ipc.open_file
    try:
        with file.open() as stream:
            schema = open_reader(stream).schema
        selection = select_columns(None, source, schema.names)
        wanted = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in selection.names])
        with file.open() as stream:
            reader = open_reader(stream, options=wanted)
            batches = reader if is_stream else map(reader.get_batch, range(reader.num_record_batches))
            yield from read_batches(map(without_image_bytes, batches), selection)
    # A damaged length makes pyarrow ask a Python file for a negative number of bytes.
    except (pa.ArrowException, SystemError) as error:
        raise FormatError(f"an arrow or parquet file is expected: {error}") from error
