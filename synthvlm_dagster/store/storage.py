"""Tables and files on any fsspec URL: the only module that touches the store.

A table is a folder of parquet files below the storage URL. Every file appears whole or not at all: on a local disk
it is written under a temporary name, synced and renamed; on an object store it is one PUT, or the last step of an
upload in parts.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import unquote

import polars as pl
from fsspec.implementations.local import LocalFileSystem
from polars.io.plugins import register_io_source

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.credentials import credentials_in
from synthvlm_dagster.store.folder_swap import TEMPORARY_PREFIX, replaced_folder, sync
from synthvlm_dagster.store.object_stores import filesystem_at
from synthvlm_dagster.store.parquet_files import parquet_batches, parquet_rows_with, parquet_writer
from synthvlm_dagster.store.remote_files import RemoteFile, RemoteVersion, opened_ahead, version_of

WHOLE_TABLE = "table.parquet"
UNREADABLE_TABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises where a parquet file is damaged inside; which one, it does not always say."""
SET_ASIDE_SUFFIX = ".corrupt"
NAMED_BY_CONTENT = re.compile(r"/chunk-[0-9a-f]{10}-([0-9a-f]{16})\.parquet$")
"""The end of a path whose file is never changed, because its name holds a digest of what is in it."""

_PARQUET = b"PAR1"
_DAMAGED = (OSError, ValueError, TypeError, LookupError, RuntimeError, SystemError)
"""What pyarrow raises for a damaged file, an OSError of its own without a number."""
_TIMES_OF_CHANGE = ("mtime", "LastModified", "last_modified", "updated", "created")
_READ_BYTES = 1 << 20
_READ_AHEAD_BYTES = 8 << 20
"""What one request to an object store brings where a file is read from front to back."""


class StoredFile(NamedTuple):
    """A file of the store, finished or not."""

    path: str
    size: int
    """In bytes."""
    modified: float | None
    """When it was last written, in seconds since 1970; None where the store does not say."""


class Storage:
    """A folder of tables and files on a local disk or an object store.

    Every path given to the methods is relative to the storage URL and uses `/`. One that would leave it is refused
    with a StorageError, whatever the method: `..`, an absolute path, a backslash, a control character, any of these
    behind %-signs; and nothing is written or deleted through a link that leads out of it.
    """

    def __init__(self, url: str) -> None:
        """
        Args:
            url: local folder or fsspec URL.

        Raises:
            StorageError: the URL holds credentials, or names no file system that is installed.
        """
        if refusal := credentials_in(url):
            raise StorageError(f"the storage: {refusal}")
        try:
            self._fs, self._root = filesystem_at(url)
        except (ImportError, ValueError) as error:
            raise StorageError(f"{url}: cannot be used as storage: {error}") from error
        self._root = self._root.rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._unchanging: dict[str, RemoteVersion] = {}

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine."""
        return self._is_local

    def url(self, path: str = "") -> str:
        """Where `path` is, as a person would type it: a local path, or a URL with its scheme."""
        full = self._full(path)
        return full if self._is_local else self._fs.unstrip_protocol(full)

    def files(self, folder: str, suffix: str = "") -> list[str]:
        """Sorted paths of the finished files below `folder` (recursively); empty when there is no such folder.

        Raises:
            StorageError: the store cannot be reached, which says nothing about its files.
        """
        return sorted(path for path in self._listed(folder) if path.endswith(suffix) and not _is_temporary(path))

    def every_file(self) -> list[StoredFile]:
        """All files of the store, sorted by path: those of tables, and temporary and damaged ones, which `files` omits.

        Raises:
            StorageError: the store cannot be listed.
        """
        return sorted(
            StoredFile(path, int(info.get("size") or 0), _time_of_change(info))
            for path, info in self._listed("", sizes=True).items()
        )

    def exists(self, path: str) -> bool:
        """Whether a file stands at `path`.

        Raises:
            StorageError: the store cannot be reached, which says nothing about its files.
        """
        return self._details(path) is not None

    def read_bytes(self, path: str) -> bytes:
        """Content of one file.

        Raises:
            StorageError: there is no such file, or it cannot be read.
        """
        with self._explained(path, "read"):
            return self._fs.cat_file(self._full(path))

    def open(self, path: str) -> BinaryIO:
        """One file as a seekable stream, for files too large to be read whole.

        Raises:
            StorageError: there is no such file, or it cannot be opened. On an object store, reading raises it too.
        """
        if not self._is_local:
            return cast("BinaryIO", io.BufferedReader(self._open_remote(path), _READ_AHEAD_BYTES))
        with self._explained(path, "read"):
            return self._fs.open(self._full(path), "rb")

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write one file whole.

        Raises:
            StorageError: the file cannot be written (disk full, no permission, lost connection).
        """
        with self._staged_file(path) as staged:
            staged.write_bytes(content)

    def delete(self, path: str) -> None:
        """Delete one file; no error when it is not there.

        Raises:
            StorageError: the file cannot be deleted.
        """
        with self._explained(path, "deleted"), suppress(FileNotFoundError):
            self._fs.rm_file(self._inside(path))

    def delete_empty_folders(self, folder: str) -> None:
        """Delete a folder and those in it as far as they hold no file; an object store has none."""
        if self._is_local:
            for path, _, _ in os.walk(self._inside(folder, follow=True), topdown=False):
                with suppress(OSError):
                    Path(path).rmdir()

    def set_aside(self, path: str) -> str:
        """Rename a damaged file so that it belongs to no table any more.

        Returns:
            Its new path, which ends in `.corrupt`.

        Raises:
            StorageError: the file cannot be renamed.
        """
        renamed = f"{path}{SET_ASIDE_SUFFIX}"
        self._unchanging.pop(path, None)
        with self._explained(path, "renamed, though it is damaged"):
            self._fs.mv(self._inside(path), self._inside(renamed))
        return renamed

    def has_table(self, table: str) -> bool:
        """Whether at least one file of the table exists."""
        return bool(self.files(table, ".parquet"))

    def write_table(
        self, table: str, frame: pl.DataFrame | pl.LazyFrame, notes: Mapping[str, str] | None = None
    ) -> None:
        """Replace a table kept in one file by the rows of `frame`, streamed when it is lazy.

        Args:
            table: the table.
            frame: its rows.
            notes: facts about the table that stand in its file, see `notes`.

        Raises:
            StorageError: the file cannot be written; the one already there stays.
        """
        with self._staged_file(f"{table}/{WHOLE_TABLE}") as staged:
            frame.lazy().sink_parquet(staged, metadata=dict(notes) if notes else None)

    def notes(self, table: str) -> dict[str, str]:
        """The notes in the file of a table kept in one file; empty when it has none, or is not there.

        Raises:
            StorageError: the file is damaged or cannot be read.
        """
        from pyarrow.parquet import read_metadata

        path = f"{table}/{WHOLE_TABLE}"
        if not self.exists(path):
            return {}
        # Reads the end of the file alone.
        with self.open(path) as file, self._damage_explained(path):
            found = read_metadata(file).metadata or {}
        return {name.decode(): value.decode() for name, value in found.items()}

    def write_chunk(self, table: str, name: str, frame: pl.DataFrame | pl.LazyFrame) -> None:
        """Write one immutable parquet file `name` of a table kept in many.

        Raises:
            StorageError: the file cannot be written; the files already there stay.
        """
        with self._staged_file(f"{table}/{name}") as staged:
            frame.lazy().sink_parquet(staged)

    @contextmanager
    def table_writer(
        self, table: str, schema: pl.Schema, notes: Mapping[str, str] | None = None
    ) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Replace a table kept in one file by frames that are written one after another and never stand in memory.

        Args:
            table: the table.
            schema: its columns.
            notes: facts about the table that stand in its file, see `notes`.

        Yields:
            The function that writes one frame with the columns of `schema`. When the block ends without an error the
            table is replaced; after an error or a kill the old one stands as it was.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._staged_file(f"{table}/{WHOLE_TABLE}") as staged, parquet_writer(staged, schema, notes) as write:
            yield write

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows of a table in order, a part at a time, so that they never stand in memory together.

        Args:
            table: the table.
            columns: columns to read; None: all.

        Raises:
            StorageError: the table has no file yet.
        """
        paths = self.files(table, ".parquet")
        if not paths:
            raise _missing_table(self.url(table))
        for path in paths:
            with self.open(path) if self._is_local else self._open_remote(path) as file, self._damage_explained(path):
                yield from parquet_batches(file, columns)

    def rows_with(self, table: str, column: str, value: str) -> pl.DataFrame:
        """The rows of a table kept in one file in which a column of strings has a value, in order.

        Reads the file's footer and the row groups that may hold the value, also from an object store: little of a
        file that has a row group for each value.

        Raises:
            StorageError: the table has no file yet, or it is damaged.
        """
        path = f"{table}/{WHOLE_TABLE}"
        if not self.exists(path):
            raise _missing_table(self.url(table))
        with self.open(path) if self._is_local else self._open_remote(path) as file, self._damage_explained(path):
            return parquet_rows_with(file, column, value)

    def scan(self, table: str) -> pl.LazyFrame:
        """The rows of every file below the table's folder, lazily, in order of file name.

        Raises:
            StorageError: the table has no file yet, or is one file on a disk that is cut or no parquet file.
        """
        paths = self.files(table, ".parquet")
        if not paths:
            raise _missing_table(self.url(table))
        # Of a table in many files the damaged ones are set aside where it is made again.
        for path in paths:
            if self._is_local and path.endswith(f"/{WHOLE_TABLE}"):
                _require_parquet(self._full(path))
        return self.scan_files(paths)

    def scan_files(self, paths: list[str]) -> pl.LazyFrame:
        """The rows of the given parquet files (at least one), lazily, in the given order.

        From an object store only the columns that a query needs are fetched, row group by row group, by the same
        client that writes: its credentials, endpoint and retries hold for both. Damage in a local file shows, as an
        error of polars, when the rows are read; `damaged_tables` tells where.

        Raises:
            StorageError: on an object store, the first file cannot be fetched; a query raises it for the others.
        """
        if self._is_local:
            full = [self._full(path) for path in paths]
            return pl.scan_parquet(full, hive_partitioning=False, glob=False)

        from pyarrow.parquet import ParquetFile

        with self._open_remote(paths[0]) as file:
            schema = pl.DataFrame(ParquetFile(file).schema_arrow.empty_table()).schema

        def read(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            for file in opened_ahead(paths, self._open_remote):
                for frame in parquet_batches(file, columns):
                    part = frame if rows is None else frame.head(rows)
                    yield part if predicate is None else part.filter(predicate)
                    if rows is not None:
                        rows -= part.height
                        if not rows:
                            return

        return register_io_source(read, schema=schema, explain_name="parquet", explain_detail=self.url(paths[0]))

    def damaged_tables(self) -> list[str]:
        """Locations of files that cannot be read to their end, those of images left out, whose names tell it."""
        found = []
        for path in self.files("", ".parquet"):
            if path.startswith(("images/", "failed_images/", "dataset/huggingface/")):
                continue
            try:
                for _ in self.scan_files([path]).collect_batches():
                    pass
            except (StorageError, *UNREADABLE_TABLE, *_DAMAGED):
                found.append(self.url(path))
        return found

    def version(self, table: str) -> str:
        """Fingerprint of a table's content: equal files, equal version; empty when the table has no file.

        Files of chunked tables are named by their content, so that names and sizes tell them apart; whole tables are
        read.
        """
        digest = hashlib.blake2b(digest_size=8)
        paths = self.files(table, ".parquet")
        for path in paths:
            digest.update(path.encode() + b"\0")
            if path.endswith(f"/{WHOLE_TABLE}"):
                with self.open(path) as file:
                    while block := file.read(_READ_BYTES):
                        digest.update(block)
            else:
                digest.update(str(self.size(path)).encode())
            digest.update(b"\0")
        return digest.hexdigest() if paths else ""

    def size(self, path: str) -> int:
        """Size of one file in bytes; 0 when it is not there.

        Raises:
            StorageError: the store cannot be reached, which says nothing about its files.
        """
        return int((self._details(path) or {}).get("size") or 0)

    @contextmanager
    def replaced_folder(self, folder: str, last: Sequence[str] = ()) -> Iterator[Path]:
        """Build a folder aside and swap it in whole.

        On a local disk that is one step, see `folder_swap`. An object store has none: everything is uploaded beside the
        old folder, which stands as it was until that is done. Then the store itself copies the files into their places:
        first those that others refer to, then those of `last`, in order; at the end what the new folder has not is
        deleted. Who begins with the files of `last` finds what they name, old or new, unless files of the two versions
        have the same name.

        Args:
            folder: where it shall stand.
            last: files, by their path below the folder, that tell a reader which others there are.

        Yields:
            An empty local folder to fill. When the block ends without an error its files take the place of what stood
            at `folder`; after an error or, on a local disk, a kill, the old folder stands as it was.

        Raises:
            StorageError: the folder cannot be written.
        """
        target = self._inside(folder, follow=True)
        try:
            if self._is_local:
                with replaced_folder(Path(target)) as staged:
                    yield staged
            else:
                with tempfile.TemporaryDirectory() as local:
                    yield Path(local)
                    self._upload_folder(Path(local), folder, last)
        except OSError as error:
            raise StorageError(f"{self.url(folder)}: cannot be written: {error}") from error

    def _upload_folder(self, source: Path, folder: str, last: Sequence[str]) -> None:
        fresh = sorted(file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file())
        referring = [name for name in last if name in fresh]
        staged = f"{TEMPORARY_PREFIX}{folder.replace('/', '.')}.{uuid.uuid4().hex}"
        staged_at, stands_at = ({name: self._full(f"{at}/{name}") for name in fresh} for at in (staged, folder))
        beside = list(staged_at.values())
        try:
            with self._explained(folder, "written"):
                if fresh:
                    self._fs.put([str(source / name) for name in fresh], beside)
                for names in [[name for name in fresh if name not in referring], *([name] for name in referring)]:
                    if names:
                        self._fs.copy([staged_at[name] for name in names], [stands_at[name] for name in names])
                stale = set(self.files(folder)) - {f"{folder}/{name}" for name in fresh}
                self._delete_all([self._full(path) for path in sorted(stale)])
        finally:
            # Where the store is out of reach they stay; nothing reads them.
            with suppress(Exception):
                self._delete_all(beside)

    def _listed(self, folder: str, *, sizes: bool = False) -> dict[str, dict[str, Any]]:
        """What the file system knows of every file below a folder, by path; on a disk only where `sizes` are wanted."""
        with self._explained(folder, "listed"):
            self._forget_listings()
            try:
                found = self._fs.find(self._full(folder), detail=sizes or not self._is_local)
            except FileNotFoundError:
                return {}
        known = found if isinstance(found, dict) else {path: {} for path in found}
        listed = {path.removeprefix(self._root).lstrip("/"): details for path, details in known.items()}
        if not self._is_local:
            self._unchanging |= {
                path: version_of(details) for path, details in listed.items() if NAMED_BY_CONTENT.search(path)
            }
        return listed

    def _delete_all(self, full_paths: list[str]) -> None:
        if full_paths:
            self._fs.rm(full_paths)

    @contextmanager
    def _staged_file(self, path: str) -> Iterator[Path]:
        target = self._inside(path)
        try:
            if self._is_local:
                staged = Path(target).with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
                staged.parent.mkdir(parents=True, exist_ok=True)
                try:
                    yield staged
                    sync(staged)
                    os.replace(staged, target)
                    sync(staged.parent)
                finally:
                    staged.unlink(missing_ok=True)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    # An object store tells browsers what a file is by the suffix that it came with.
                    staged = Path(folder) / path.rpartition("/")[2]
                    yield staged
                    with self._explained(path, "written"):
                        self._fs.put_file(str(staged), target)
        except OSError as error:
            raise StorageError(f"{self.url(path)}: cannot be written: {error}") from error

    def _open_remote(self, path: str) -> RemoteFile:
        full, explained = self._full(path), partial(self._explained, path, "read")
        # Where the name tells the content, what a listing has told of the file is true as long as it is there.
        if version := self._unchanging.get(path):
            return RemoteFile(
                self.url(path), version, lambda start, end: self._fs.cat_file(full, start=start, end=end), explained
            )
        with explained():
            self._forget_listings()
            stream = self._fs.open(full, "rb", cache_type="none")
            version = version_of(getattr(stream, "details", None) or self._fs.info(full))

        def read(start: int, end: int) -> bytes:
            stream.seek(start)
            return stream.read(end - start)

        return RemoteFile(self.url(path), version, read, explained)

    def _details(self, path: str) -> dict[str, Any] | None:
        """What the file system knows of a file; None when it is not there."""
        with self._explained(path, "looked up"):
            self._forget_listings()
            try:
                details = self._fs.info(self._full(path))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return details if details["type"] == "file" else None

    def _forget_listings(self) -> None:
        """Other processes write too, and fsspec's file systems keep what they once listed as long as they live."""
        self._fs.invalidate_cache()

    @contextmanager
    def _explained(self, path: str, doing: str) -> Iterator[None]:
        """Turn what goes wrong with a file into a StorageError."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            # Object stores raise the errors of their network clients, which need not be OSErrors.
            if self._is_local and not isinstance(error, OSError):
                raise
            reason = str(error).rstrip(".") or type(error).__name__
            raise StorageError(f"{self.url(path)}: cannot be {doing}: {reason}{self._advice(error)}") from error

    @contextmanager
    def _damage_explained(self, path: str) -> Iterator[None]:
        """Turn what pyarrow finds wrong with an open parquet file into a StorageError."""
        try:
            yield
        except _DAMAGED as error:
            if getattr(error, "errno", None):
                raise StorageError(f"{self.url(path)}: cannot be read: {error}") from error
            raise _damaged_table(self.url(path), str(error)) from error

    def _advice(self, error: Exception) -> str:
        if self._is_local or isinstance(error, FileNotFoundError):
            return ""
        if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
            return ". Check the store's credentials in the environment, and what they may do"
        return ". Run again when the store can be reached; what stands there is as it was"

    def _full(self, path: str) -> str:
        if path and (reason := _leaves(path)):
            raise StorageError(
                f"{path!r}: is no place in the storage {self._fs.unstrip_protocol(self._root)}: {reason}. Correct the "
                "name that it comes from"
            )
        return f"{self._root}/{path}".rstrip("/")

    def _inside(self, path: str, *, follow: bool = False) -> str:
        """The full path of what is to be written or deleted.

        Args:
            path: below the storage.
            follow: whether a link at its end counts as what it leads to; without, as what is replaced itself.
        """
        full = self._full(path)
        if self._is_local:
            real = os.path.realpath(full if follow else Path(full).parent)
            root = os.path.realpath(self._root)
            if real != root and not real.startswith(f"{root.rstrip('/')}/"):
                raise StorageError(
                    f"{full}: is not written: a link leads out of the storage, to {real}. Remove the link, or mount "
                    "the other disk in its place"
                )
        return full


def _leaves(path: str) -> str | None:
    """Why a path cannot be one below the storage; None where it can."""
    decoded = path
    # Twice, as proxies and clients of object stores may each decode once.
    for _ in range(2):
        decoded = unquote(decoded)
    if any(ord(sign) < 32 or ord(sign) == 127 or "\ud800" <= sign <= "\udfff" for sign in decoded):
        return "it holds a control character or half a character"
    if "\\" in decoded:
        return "it holds a backslash"
    if "::" in decoded or "://" in decoded:
        return "it is a URL"
    if any(part in ("", ".", "..") for part in decoded.split("/")):
        return "it holds an empty name, . or .."
    return None


def _require_parquet(file: str) -> None:
    """Look at the ends of a parquet file: `PAR1`, and before the last of them the length of the footer."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - a path of a store, as text
            first = stream.read(4)
            length = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, length - 8))
            last = stream.read(8)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error}") from error
    if first != _PARQUET or last[4:] != _PARQUET or int.from_bytes(last[:4], "little") > length - 12:
        raise _damaged_table(file, "it is cut, or no parquet file")


def _damaged_table(url: str, reason: str) -> StorageError:
    return StorageError(f"{url}: is damaged: {reason}. Delete it, and materialize the asset that writes it")


def _missing_table(url: str) -> StorageError:
    return StorageError(f"{url}: no such table; materialize the asset that writes it first")


def _time_of_change(info: Mapping[str, Any]) -> float | None:
    """Seconds since 1970, from whatever a filesystem calls the time of the last change."""
    value = next((info[name] for name in _TIMES_OF_CHANGE if info.get(name)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else value


def _is_temporary(path: str) -> bool:
    return any(part.startswith(TEMPORARY_PREFIX) for part in path.split("/"))
