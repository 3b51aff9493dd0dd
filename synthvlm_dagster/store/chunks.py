"""The files of a table that is kept in many: each is named by what is in it, so that damage shows."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping

import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.store.remote_files import asked_ahead
from synthvlm_dagster.store.storage import NAMED_BY_CONTENT, Storage

_UNREADABLE = (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars and pyarrow raise for bytes that are no whole parquet file (pyarrow's ArrowInvalid is a ValueError)."""

_DIGEST_BYTES = 8
_READ_BYTES = 1 << 20


def write_chunk(storage: Storage, table: str, rows: pl.DataFrame) -> str:
    """Write one chunk, whole, and return its path: `chunk-<image ids>-<content>.parquet`.

    Both parts of the name are fingerprints. The second is the BLAKE2b digest of the whole file: parquet's own page
    checksums cover neither page headers nor the footer.

    Args:
        storage: the store.
        table: the folder that gets the file.
        rows: with a column image_id; the same rows always make the same file.

    Raises:
        StorageError: the file cannot be written; those already there stay.
    """
    stream = io.BytesIO()
    rows.write_parquet(stream)
    content = stream.getvalue()
    digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
    path = f"{table}/chunk-{fingerprint(rows['image_id'].to_list())}-{digest}.parquet"
    storage.write_bytes(path, content)
    return path


def read_chunks(
    storage: Storage, paths: Iterable[str], columns: list[str]
) -> Iterator[tuple[str, pl.DataFrame | None]]:
    """Some columns of each chunk file, in order; None where it is no readable parquet table with these columns.

    Reads these columns alone: damage elsewhere in a file is not noticed (see `quarantine_damaged`).

    Raises:
        StorageError: a file that is there cannot be fetched, which says nothing about its content.
    """

    def read(path: str) -> tuple[str, pl.DataFrame | None]:
        return path, read_columns(storage, path, columns)

    chosen = list(paths)
    yield from map(read, chosen) if storage.is_local else asked_ahead(chosen, read)


def rows_by_shard(storage: Storage, folder: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Some columns of all readable chunk files `…/<shard>/<file>` below a folder, in order of their paths.

    Args:
        storage: the store.
        folder: of a shard's files, or of the folders of all shards.
        schema: columns to read, with their types.

    Returns:
        The columns of `schema`; shard, the name of the folder that the file stands in; and file, its path.

    Raises:
        StorageError: a file that is there cannot be fetched, which says nothing about its content.
    """
    empty = pl.DataFrame(schema={**schema, "shard": pl.String(), "file": pl.String()})
    chunks = read_chunks(storage, storage.files(folder, ".parquet"), list(schema))
    return pl.concat([empty, *(in_file(rows, path) for path, rows in chunks if rows is not None)])


def in_file(rows: pl.DataFrame, path: str) -> pl.DataFrame:
    """Rows of a chunk file with the columns shard and file, as `rows_by_shard` gives them."""
    return rows.with_columns(shard=pl.lit(shard_of(path)), file=pl.lit(path))


def shard_of(path: str) -> str:
    """The shard in whose folder a chunk file stands."""
    return path.rsplit("/", 2)[1]


def read_columns(storage: Storage, path: str, columns: list[str]) -> pl.DataFrame | None:
    """Some columns of one chunk file; None where it is no readable parquet table with these columns.

    Raises:
        StorageError: a file that is there cannot be fetched, which says nothing about its content.
    """
    try:
        return storage.scan_files([path]).select(columns).collect()
    except (StorageError, *_UNREADABLE):
        content = storage.read_bytes(path)
    try:
        return pl.read_parquet(content, columns=columns)
    except _UNREADABLE:
        return None


def quarantine_damaged(storage: Storage, table: str, on_progress: Callable[[str], None]) -> tuple[str, ...]:
    """Rename every chunk file of a table that is cut, changed or no parquet file to `….parquet.corrupt`.

    Every file is read whole, so that one changed byte is found. Files from before their names held a digest are only
    opened.

    Returns:
        The new paths.

    Raises:
        StorageError: a file cannot be fetched or renamed.
    """
    damaged = [path for path in storage.files(table, ".parquet") if _is_damaged(storage, path)]
    renamed = []
    for path in damaged:
        renamed.append(storage.quarantine(path))
        on_progress(f"a damaged file is now {storage.url(renamed[-1])}; what was in it is made again")
    return tuple(renamed)


def _is_damaged(storage: Storage, path: str) -> bool:
    named = NAMED_BY_CONTENT.search(path)
    if named is None:
        return read_columns(storage, path, ["image_id"]) is None
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with storage.open(path) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest() != named.group(1)
