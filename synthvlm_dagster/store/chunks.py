"""The files of a table that is kept in many: each is named by what is in it, so that damage shows."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator

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


def present_ids(storage: Storage, paths: Iterable[str]) -> dict[str, list[str] | None]:
    """The image ids in each chunk file; None where the file is no readable parquet table of images.

    Reads the one column alone: damage elsewhere in the file is not noticed (see `set_damaged_aside`).

    Raises:
        StorageError: a file that is there cannot be fetched, which says nothing about its content.
    """
    return {path: None if ids is None else ids["image_id"].to_list() for path, ids in _read_ids(storage, paths)}


def ids_by_shard(storage: Storage, paths: Iterable[str]) -> pl.DataFrame:
    """The image ids in chunk files `…/<shard>/<file>`: image_id and shard, the folder's; without unreadable files.

    Raises:
        StorageError: a file that is there cannot be fetched, which says nothing about its content.
    """
    empty = pl.DataFrame(schema={"image_id": pl.String, "shard": pl.String})
    found = [
        ids.with_columns(shard=pl.lit(shard_of(path))) for path, ids in _read_ids(storage, paths) if ids is not None
    ]
    return pl.concat([empty, *found])


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


def set_damaged_aside(storage: Storage, table: str, on_progress: Callable[[str], None]) -> tuple[str, ...]:
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
        renamed.append(storage.set_aside(path))
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


def _read_ids(storage: Storage, paths: Iterable[str]) -> Iterator[tuple[str, pl.DataFrame | None]]:
    def read(path: str) -> tuple[str, pl.DataFrame | None]:
        return path, read_columns(storage, path, ["image_id"])

    chosen = list(paths)
    yield from map(read, chosen) if storage.is_local else asked_ahead(chosen, read)
