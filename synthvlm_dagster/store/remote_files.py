"""Files of an object store, read by ranges; what was fetched once is not fetched again while the file is the same."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache

WHOLE_BYTES = 1 << 20
"""A file up to this size is one request, whatever is read of it; in a larger one, each read is."""
_CACHE_BYTES = 128 << 20
_ASKED_AT_ONCE = 16

_Answer = TypeVar("_Answer")

_cache: LRUCache[tuple[str, str, int, int], bytes] = LRUCache(_CACHE_BYTES, len)
_lock = Lock()


class RemoteVersion(NamedTuple):
    """What a store says of a file: two files at one place with the same tag have the same content."""

    size: int
    """In bytes."""
    tag: str | None
    """None where the store has none: then nothing is kept."""


def version_of(details: Mapping[str, Any]) -> RemoteVersion:
    """The version in what an fsspec file system knows of a file: S3 calls the tag ETag, others etag."""
    tag = details.get("ETag") or details.get("etag")
    return RemoteVersion(int(details.get("size") or 0), str(tag) if tag else None)


class RemoteFile(io.RawIOBase):
    """A file of an object store as a stream; for `io.BufferedReader` and pyarrow."""

    def __init__(
        self,
        url: str,
        version: RemoteVersion,
        fetch: Callable[[int, int], bytes],
        explained: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """
        Args:
            url: where it is; with the version, tells it from all others.
            version: of the file that `fetch` reads from.
            fetch: the bytes from one place up to another, in one request.
            explained: a context that turns errors of `fetch` into those that a user understands.
        """
        self._url = url
        self._version = version
        self._fetch = fetch
        self._explained = explained
        self._place = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, in bytes; returns it. Asks for nothing."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._version.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer of bytes as far as the file goes; returns how many it got, 0 at the end of the file."""
        end = min(self._place + len(buffer), self._version.size)
        if end <= self._place:
            return 0
        content = self._range(self._place, end)
        self._place = end
        buffer[: len(content)] = content
        return len(content)

    def fetch_if_small(self) -> None:
        """Fetch a file up to `WHOLE_BYTES`, so that reading it later asks for nothing."""
        if 0 < self._version.size <= WHOLE_BYTES:
            self._range(0, self._version.size)

    def _range(self, start: int, end: int) -> bytes:
        size, tag = self._version
        first, last = (0, size) if size <= WHOLE_BYTES else (start, end)
        key = (self._url, tag or "", first, last)
        with _lock:
            content = _cache.get(key)
        if content is None:
            with self._explained():
                content = self._fetch(first, last)
                if len(content) < last - first:
                    raise OSError(f"{len(content)} of {last - first} bytes came")
            if tag and last - first <= WHOLE_BYTES:
                with _lock:
                    _cache[key] = content
        return content[start - first : end - first]


def opened_ahead(paths: Sequence[str], open_file: Callable[[str], RemoteFile]) -> Iterator[RemoteFile]:
    """Files in order; while one is read, some after it are opened, and small ones fetched; see `asked_ahead`.

    Args:
        paths: where they are.
        open_file: opens one; called from several threads at once.
    """

    def open_and_fetch(path: str) -> RemoteFile:
        file = open_file(path)
        file.fetch_if_small()
        return file

    for file in asked_ahead(paths, open_and_fetch):
        with file:
            yield file


def asked_ahead(paths: Sequence[str], ask: Callable[[str], _Answer]) -> Iterator[_Answer]:
    """What is answered for each path, in order; while one answer is used, fifteen after it are asked for.

    From an object store each answer takes a while, however little is asked for.

    Args:
        paths: where to ask.
        ask: called from several threads at once.

    Raises:
        Exception: what `ask` raised, when the answer's turn comes.
    """
    coming: deque[Future[_Answer]] = deque()
    threads = ThreadPoolExecutor(_ASKED_AT_ONCE, "ask")
    try:
        for number in range(len(paths)):
            coming.extend(threads.submit(ask, path) for path in paths[number + len(coming) : number + _ASKED_AT_ONCE])
            yield coming.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
