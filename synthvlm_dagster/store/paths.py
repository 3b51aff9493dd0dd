"""Files below one URL, on a local disk or an object store: listed, read, written and deleted.

Every file appears whole or not at all: on a local disk it is written under a temporary name, synced and renamed; on an
object store it is one PUT, or the last step of an upload in parts.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import unquote

from fsspec.implementations.local import LocalFileSystem

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.credentials import credentials_in
from synthvlm_dagster.store.folder_swap import TEMPORARY_PREFIX, sync
from synthvlm_dagster.store.object_stores import filesystem_at
from synthvlm_dagster.store.remote_files import RemoteFile, RemoteVersion, version_of

FORMAT = 1
"""How tables, chunks and records are laid out and named. A store of another number is refused."""
FORMAT_FILE = ".synthvlm_format.json"
"""Stands at the store's root from the first write on; no listing shows it."""
QUARANTINE_SUFFIX = ".corrupt"
NAMED_BY_CONTENT = re.compile(r"/chunk-[0-9a-f]{10}-([0-9a-f]{16})\.parquet$")
"""The end of a path whose file is never changed, because its name holds a digest of what is in it."""

_TIMES_OF_CHANGE = ("mtime", "LastModified", "last_modified", "updated", "created")
_READ_AHEAD_BYTES = 8 << 20
"""What one request to an object store brings where a file is read from front to back."""


class StoredFile(NamedTuple):
    """A file of the store, finished or not."""

    path: str
    size: int
    """In bytes."""
    modified: float | None
    """When it was last written, in seconds since 1970; None where the store does not say."""


class StoredFiles:
    """The files of a store; see `Storage`."""

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
        self._known_format = False
        self._marked_format = False

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

    def size(self, path: str) -> int:
        """Size of one file in bytes; 0 when it is not there.

        Raises:
            StorageError: the store cannot be reached, which says nothing about its files.
        """
        return int((self._details(path) or {}).get("size") or 0)

    def read_bytes(self, path: str) -> bytes:
        """Content of one file.

        Raises:
            StorageError: there is no such file, or it cannot be read.
        """
        with self._explained(path, "read"):
            self._require_known_format()
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

    def quarantine(self, path: str) -> str:
        """Rename a damaged file so that it belongs to no table any more.

        Returns:
            Its new path, which ends in `.corrupt`.

        Raises:
            StorageError: the file cannot be renamed.
        """
        renamed = f"{path}{QUARANTINE_SUFFIX}"
        self._unchanging.pop(path, None)
        with self._explained(path, "renamed, though it is damaged"):
            self._fs.mv(self._inside(path), self._inside(renamed))
        return renamed

    def _require_known_format(self) -> None:
        """Refuse a store that another version of this program laid out; asked once, before the first look."""
        if self._known_format:
            return
        try:
            content = self._fs.cat_file(f"{self._root}/{FORMAT_FILE}")
        except (FileNotFoundError, NotADirectoryError):
            pass
        else:
            found = _format_in(content)
            if found != FORMAT:
                newer = isinstance(found, int) and found > FORMAT
                advice = "Use the newer synthvlm_dagster that wrote it" if newer else "Use the one that wrote it"
                raise StorageError(
                    f"{self._fs.unstrip_protocol(self._root)}: is laid out in format {found}, and this version of "
                    f"synthvlm_dagster knows format {FORMAT} alone. {advice}, or name another folder in the recipe's "
                    "`storage`; nothing in this one has been changed"
                )
        self._known_format = True

    def _mark_format(self) -> None:
        """Write down the format before the first file of a store."""
        if self._marked_format:
            return
        place, content = f"{self._root}/{FORMAT_FILE}", json.dumps({"format": FORMAT}).encode()
        if not self._fs.exists(place):
            if self._is_local:
                staged = Path(self._root) / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
                staged.parent.mkdir(parents=True, exist_ok=True)
                staged.write_bytes(content)
                sync(staged)
                os.replace(staged, place)
            else:
                # Of an object store the root may be a bucket: one that is not there is a mistake, and none is made.
                self._fs.pipe_file(place, content)
        self._marked_format = True

    def _listed(self, folder: str, *, sizes: bool = False) -> dict[str, dict[str, Any]]:
        """What the file system knows of every file below a folder, by path; on a disk only where `sizes` are wanted."""
        with self._explained(folder, "listed"):
            self._require_known_format()
            self._forget_listings()
            try:
                found = self._fs.find(self._full(folder), detail=sizes or not self._is_local)
            except FileNotFoundError:
                return {}
        known = found if isinstance(found, dict) else {path: {} for path in found}
        listed = {path.removeprefix(self._root).lstrip("/"): details for path, details in known.items()}
        listed.pop(FORMAT_FILE, None)
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
            with self._explained(path, "written"):
                self._require_known_format()
                self._mark_format()
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
            self._require_known_format()
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


def _time_of_change(info: Mapping[str, Any]) -> float | None:
    """Seconds since 1970, from whatever a filesystem calls the time of the last change."""
    value = next((info[name] for name in _TIMES_OF_CHANGE if info.get(name)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else value


def _is_temporary(path: str) -> bool:
    return any(part.startswith(TEMPORARY_PREFIX) for part in path.split("/"))


def _format_in(content: bytes) -> Any:
    """The number that the format's file holds; None where it holds none."""
    try:
        return json.loads(content)["format"]
    except (ValueError, KeyError, TypeError):
        return None
