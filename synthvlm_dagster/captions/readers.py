"""Read the captions of every source of a recipe into one table, as they were found."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence

import polars as pl
import zstandard

from synthvlm_dagster.captions.files import SourceFile, find_files
from synthvlm_dagster.captions.formats import READERS, FormatError, detect_format
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

RAW_COLUMNS = {
    "caption_id": "Stable hash of source and text, 16 hexadecimal digits; of the row's place when it has no text.",
    "text": "The caption as found; null when the row is bad.",
    "source": "Name of the source in the recipe.",
    "source_file": "File name; with its folder where a glob matches several folders.",
    "source_row": "0-based item of the file: list item, annotation, or line after the header.",
    "image_uri": "Path or URL of the caption's original image, when the source has one.",
    "clip_similarity": "CLIP similarity with the original image, in [-1, 1], when the source carries it.",
    "problem": "Why the row has no usable caption; null when it has.",
}
RAW_SCHEMA = pl.Schema(
    {
        "caption_id": pl.String,
        "text": pl.String,
        "source": pl.String,
        "source_file": pl.String,
        "source_row": pl.Int64,
        "image_uri": pl.String,
        "clip_similarity": pl.Float64,
        "problem": pl.String,
    }
)

_HEAD_BYTES = 1 << 16


def read_captions(
    sources: Sequence[CaptionSource], *, on_progress: Callable[[str], None] = lambda _: None
) -> pl.DataFrame:
    """Every caption of the sources, in order of source, file and row.

    A row without a usable caption (null, empty, not a string, undecodable, field missing) does not stop its source: it
    is a row with `problem`.

    Returns:
        A table with the columns of `RAW_COLUMNS`.

    Raises:
        CaptionSourceError: a file is missing or unreadable, is not in the named format, lacks a named column, or a
            source has no usable caption at all.
    """
    return pl.concat([_read_source(source, on_progress) for source in sources])


def source_version(sources: Sequence[CaptionSource]) -> str:
    """Fingerprint of the sources' settings and of each file's path, size, and etag or time of change.

    Raises:
        CaptionSourceError: a source's files are not there.
    """
    files = [[(file.url, file.change_mark) for file in find_files(source)] for source in sources]
    return fingerprint(*sources, files)


def caption_id(source: str, text: str) -> str:
    """16 hexadecimal digits that name the same caption of the same source wherever and whenever it is found."""
    return hashlib.blake2b(f"{source}\0{text}".encode(), digest_size=8).hexdigest()


def _read_source(source: CaptionSource, on_progress: Callable[[str], None]) -> pl.DataFrame:
    frames: list[pl.DataFrame] = []
    height = 0
    for file in find_files(source):
        before = height
        for frame in _read_file(file, source):
            frames.append(frame.head(source.limit - height) if source.limit else frame)
            height += frames[-1].height
            if height == source.limit:
                break
        on_progress(f"source {source.name}: {file.name}: {height - before:,} rows")
        if height == source.limit:
            break
    rows = pl.concat(frames) if frames else pl.DataFrame(schema=RAW_SCHEMA)
    _require_captions(rows, source)
    return rows


def _read_file(file: SourceFile, source: CaptionSource) -> Iterator[pl.DataFrame]:
    try:
        layout = source.format if source.format != "auto" else _detected(file, source)
        with file.open() as stream:
            for rows in READERS[layout](stream, source):
                yield _identified(rows, source.name, file.name)
    except FormatError as error:
        raise CaptionSourceError(
            f"source {source.name}: {file.url}: {error}. Correct the file, or the source's format or columns"
        ) from error
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise CaptionSourceError(f"source {source.name}: {file.url}: cannot be read: {error}") from error


def _detected(file: SourceFile, source: CaptionSource) -> str:
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES)
    layout = detect_format(file.extension, head, source.columns or SourceColumns())
    if layout is None:
        raise FormatError(f"the format cannot be told from name and content. Name it: format is one of {list(READERS)}")
    return layout


def _identified(rows: pl.DataFrame, source: str, file: str) -> pl.DataFrame:
    ids = [
        # A bad row has no text to be known by: its place names it.
        caption_id(source, f"\0{file}\0{row}" if text is None else text)
        for text, row in zip(rows["text"], rows["source_row"], strict=True)
    ]
    return rows.select(
        pl.Series("caption_id", ids, dtype=pl.String),
        "text",
        pl.lit(source).alias("source"),
        pl.lit(file).alias("source_file"),
        pl.exclude("text"),
    )


def _require_captions(rows: pl.DataFrame, source: CaptionSource) -> None:
    if rows["text"].null_count() < rows.height:
        return
    if rows.is_empty():
        raise CaptionSourceError(f"source {source.name}: {source.path}: holds no captions. Correct the source's path")
    first = rows.row(0, named=True)
    raise CaptionSourceError(
        f"source {source.name}: {source.path}: none of the {rows.height:,} rows has a usable caption. The first: "
        f"{first['source_file']}, row {first['source_row']}: {first['problem']}. Correct the source's format or columns"
    )
