"""Read the captions of every source of a recipe, as they were found, a part at a time."""

from __future__ import annotations

import hashlib
import lzma
import posixpath
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import BadGzipFile
from urllib.parse import unquote

import polars as pl

from synthvlm_dagster.captions.files import SourceFile, find_files
from synthvlm_dagster.captions.formats import FORMATS, detect_format
from synthvlm_dagster.captions.parsing.first_bytes import read_head, require_text
from synthvlm_dagster.captions.parsing.format_errors import FormatError
from synthvlm_dagster.errors import CaptionSourceError, SynthVLMError
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import CaptionSource

RAW_COLUMNS = {
    "caption_id": "Stable hash of source and text, 16 hexadecimal digits; of the row's place when it has no text.",
    "text": "The caption as found; null when the row is bad.",
    "source": "Name of the source in the recipe.",
    "source_file": "File name; with its folder where a glob matches several folders.",
    "source_row": "0-based item of the file: list item, annotation, or line after the header.",
    "image_uri": "Path or URL of the caption's original image, when the source has one.",
    "clip_similarity": "CLIP similarity with the original image, in [-1, 1], when the source carries it.",
    "watermark_score": "How likely the original image has a watermark, in [0, 1], when the source carries it.",
    "nsfw_score": "How likely the original image is unsafe, in [0, 1], when the source carries it.",
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
        "watermark_score": pl.Float64,
        "nsfw_score": pl.Float64,
        "problem": pl.String,
    }
)

# From so many rows on, a source whose rows are mostly bad is refused before it is read to its end.
_ENOUGH_TO_JUDGE = 10_000
# Of a source that sets no share: a tenth of its rows may be bad; of a small one this many, but never more than half.
_DEFAULT_SHARE = 0.1
_DEFAULT_ROWS = 10
_DAMAGED = (EOFError, BadGzipFile, zlib.error, lzma.LZMAError)
# A location that stands on its own: an absolute path, or a URL of any scheme (data: has no slashes).
_CLIMBS = r"(?i)(\.|%2e){2}"
_ABSOLUTE = r"^(/|[A-Za-z][A-Za-z0-9+.-]*://|data:)"


def read_captions(
    sources: Sequence[CaptionSource], *, on_progress: Callable[[str], None] = lambda _: None
) -> Iterator[pl.DataFrame]:
    """Every caption of the sources, in order of source, file and row.

    A row without a usable caption (null, empty, not a string, undecodable, field missing) does not stop its source: it
    is a row with `problem`. Memory does not grow with the files.

    Yields:
        Frames of at most 50,000 rows with the columns of `RAW_COLUMNS`.

    Raises:
        CaptionSourceError: a file is missing or unreadable, is not in the named format, lacks a named column; or of a
            source's rows none has a usable caption, or more than its `max_bad_share` allows have none.
    """
    for source in sources:
        yield from _read_source(source, on_progress)


def caption_id(source: str, text: str) -> str:
    """16 hexadecimal digits that name the same caption of the same source wherever and whenever it is found."""
    return hashlib.blake2b(f"{source}\0{text}".encode(), digest_size=8).hexdigest()


def file_format(file: SourceFile, source: CaptionSource) -> str:
    """The format in which a file is read: the one that its source names, or the one that it seems to be in.

    Raises:
        CaptionSourceError: it holds no captions, its format cannot be told, or the source has settings that files in
            this format have no use for.
    """
    with _explained(file, source):
        head = read_head(file)
        layout = source.format if source.format != "auto" else detect_format(file, head, source)
        if layout is None or FORMATS[layout].is_text:
            require_text(head)
        if layout is None:
            raise FormatError(
                "the format cannot be told from name and content", f"Name it: format is one of {', '.join(FORMATS)}"
            )
        if unused := source.unused_settings(layout):
            raise FormatError(
                f"it seems to be in the format {layout}, which has no use for the source's {unused}",
                f"Remove {unused}, or name another format",
            )
    return layout


def _read_source(source: CaptionSource, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
    seen = _Seen(source)
    with Progress(f"rows of source {source.name} read", on_progress) as progress:
        for file in find_files(source):
            before, bad_before = seen.rows, seen.bad
            layout = file_format(file, source)
            for frame in _read_file(file, source, layout):
                part = frame.head(source.limit - seen.rows) if source.limit else frame
                seen.add(part)
                yield part
                progress.report(seen.rows)
                if seen.rows == source.limit:
                    break
            bad = f", {seen.bad - bad_before:,} of them unusable" if seen.bad > bad_before else ""
            on_progress(f"source {source.name}: {file.name} (format {layout}): {seen.rows - before:,} rows{bad}")
            if seen.rows == source.limit:
                break
    seen.judge()


def _read_file(file: SourceFile, source: CaptionSource, layout: str) -> Iterator[pl.DataFrame]:
    with _explained(file, source):
        for rows in FORMATS[layout].read(file, source):
            yield _identified(rows, source, file)


@contextmanager
def _explained(file: SourceFile, source: CaptionSource) -> Iterator[None]:
    """Turn what goes wrong with a file into a CaptionSourceError."""
    place = f"source {source.name}: {file.url}"
    try:
        yield
    except FormatError as error:
        raise CaptionSourceError(f"{place}: {error}. {error.fix}") from error
    except _DAMAGED as error:
        raise CaptionSourceError(f"{place}: cannot be read: damaged or cut off ({error}). Get it again") from error
    except OSError as error:
        # pyarrow's own have no number.
        fix = "Make it readable" if error.errno else "Get it again if it is damaged or breaks off"
        raise CaptionSourceError(f"{place}: cannot be read: {error}. {fix}") from error
    except Exception as error:
        # Network filesystems raise the errors of their clients.
        if file.is_local or isinstance(error, SynthVLMError):
            raise
        raise CaptionSourceError(f"{place}: cannot be read: {type(error).__name__}: {error}. Try again") from error


def _identified(rows: pl.DataFrame, source: CaptionSource, file: SourceFile) -> pl.DataFrame:
    before, after = (f"{source.image_root.rstrip('/')}/", "") if source.image_root else file.siblings
    uri = pl.col("image_uri")
    if source.image_root:
        rows = rows.with_columns(image_uri=_without_those_that_leave(rows["image_uri"]))
    return rows.select(
        pl.Series("caption_id", _caption_ids(rows, source.name, file.name), dtype=pl.String),
        "text",
        pl.lit(source.name).alias("source"),
        pl.lit(file.name).alias("source_file"),
        "source_row",
        pl.when(uri.str.contains(_ABSOLUTE)).then(uri).otherwise(pl.lit(before) + uri + pl.lit(after)),
        "clip_similarity",
        "watermark_score",
        "nsfw_score",
        "problem",
    )


def _without_those_that_leave(uris: pl.Series) -> pl.Series:
    """The image paths, null where a relative one leads out of the folder that it starts from."""
    climbing = uris.str.contains(_CLIMBS).fill_null(False) & ~uris.str.contains(_ABSOLUTE).fill_null(False)
    if not climbing.any():
        return uris
    pairs = zip(uris, climbing, strict=True)
    return pl.Series([None if climbs and _leaves(uri) else uri for uri, climbs in pairs], dtype=pl.String)


def _leaves(path: str) -> bool:
    return posixpath.normpath(unquote(path).replace("\\", "/")).partition("/")[0] == ".."


def _caption_ids(rows: pl.DataFrame, source: str, file: str) -> list[str]:
    prefix, blake2b = f"{source}\0".encode(), hashlib.blake2b
    texts = rows["text"]
    if texts.null_count():
        # A bad row has no text to be known by: its place names it.
        texts = rows.select(pl.col("text").fill_null(pl.format(f"\0{file}\0{{}}", "source_row"))).to_series()
    return [blake2b(prefix + text.encode(), digest_size=8).hexdigest() for text in texts.to_list()]


@dataclass
class _Seen:
    """What a source held so far, and whether it is fit for use."""

    source: CaptionSource
    rows: int = 0
    bad: int = 0
    first_problem: str = ""

    def add(self, rows: pl.DataFrame) -> None:
        """Count the rows, and refuse the source early when they leave no doubt."""
        problems = rows.lazy().filter(pl.col("problem").is_not_null())
        self.rows += rows.height
        self.bad += rows.height - rows["problem"].null_count()
        if self.bad and not self.first_problem:
            first = problems.head(1).collect().row(0, named=True)
            self.first_problem = f"{first['source_file']}, row {first['source_row']}: {first['problem']}"
        if self.rows >= _ENOUGH_TO_JUDGE and self.bad > self.rows / 2:
            self._require_few_bad_rows("so far ")

    def judge(self) -> None:
        """Refuse the source, read to its end, if too little of it is usable."""
        if not self.rows:
            raise self._error("holds no captions. Correct the source's path, or remove the source")
        if self.bad == self.rows:
            raise self._error(
                f"none of the {self.rows:,} rows has a usable caption. The first: {self.first_problem}. "
                "Correct the source's format or columns"
            )
        self._require_few_bad_rows("")

    def _require_few_bad_rows(self, so_far: str) -> None:
        share = self.source.max_bad_share
        if share is None:
            allowed = max(_DEFAULT_SHARE * self.rows, min(_DEFAULT_ROWS, self.rows / 2))
            limit = f"{allowed / self.rows:.2g} allows here, as nothing else is set"
        else:
            allowed, limit = share * self.rows, f"{share:g} allows"
        if self.bad > allowed:
            raise self._error(
                f"{self.bad:,} of the {self.rows:,} rows read {so_far}({self.bad / self.rows:.1%}) have no usable "
                f"caption, more than max_bad_share {limit}. The first: {self.first_problem}. Correct the source's "
                "format or columns, or raise its max_bad_share"
            )

    def _error(self, message: str) -> CaptionSourceError:
        return CaptionSourceError(f"source {self.source.name}: {self.source.path}: {message}")
