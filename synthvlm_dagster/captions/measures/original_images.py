"""The captions' original images: read from wherever they are, several at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import fsspec
import numpy as np
import polars as pl
from fsspec.core import split_protocol, url_to_fs

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import decode_image

Prepared = TypeVar("Prepared")

_ARCHIVES = ("tar", "zip")
_WEB = ("http", "https")
_SCHEMES = frozenset(
    {*_ARCHIVES, *_WEB, "file", "local", "memory", "data", "simplecache"}
    | {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"}
)
"""What an image may be read by. Caption files of strangers name the images, and other filesystems of fsspec log in to
servers, keep caches where they are told, or fill in templates."""
_READERS = 16
"""Images read and decoded at the same time: most of the time goes into waiting for disks and servers."""
_OPEN_ARCHIVES = 8
_MAX_BYTES = 128 << 20
"""Length of a file from which it is taken for something else than a picture."""
_MAX_ASPECT = 100
"""Ratio of the sides above which it is taken for a line: scaled to a model's size it would fill the memory."""
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_READ = 60


class Opened(NamedTuple, Generic[Prepared]):
    """Some captions and what became of their images."""

    captions: pl.DataFrame
    images: dict[str, Prepared | ImageError]
    """image_uri → the prepared image, or why there is none."""


class OriginalImages:
    """Reads images by their path or URL; keeps the archives open that it has lately read from."""

    def __init__(self) -> None:
        self._archives: OrderedDict[tuple[str, str], _Archive] = OrderedDict()
        self._guard = threading.Lock()

    def open(self, uri: str) -> np.ndarray:
        """Pixels of one image; may be called from several threads.

        Args:
            uri: a local path, a URL with one of `_SCHEMES`, or a member of an archive written as
                `tar://KEY.jpg::path/or/url.tar`.

        Returns:
            uint8 of shape (height, width, 3), sRGB.

        Raises:
            ImageError: the image is missing, cannot be read or decoded, or is no picture by its size. The words go
                behind "the image".
        """
        _require_harmless(uri)
        try:
            content = self._read(uri)
        except FileNotFoundError as error:
            raise ImageError("is missing") from error
        except Exception as error:  # filesystems and servers of any kind fail in any way
            raise ImageError(f"cannot be read: {_reason(error)}") from error
        if len(content) > _MAX_BYTES:
            raise ImageError(f"is not read: its file is larger than {_MAX_BYTES >> 20} MiB")
        pixels = decode_image(content)
        shorter, longer = sorted(pixels.shape[:2])
        if longer > _MAX_ASPECT * shorter:
            raise ImageError(f"is a line rather than a picture: one side is over {_MAX_ASPECT} times the other")
        return pixels

    def open_all(
        self, captions: pl.DataFrame, prepare: Callable[[np.ndarray], Prepared], batch_size: int
    ) -> Iterator[Opened[Prepared]]:
        """Open the images of captions in threads, a few batches ahead of who asks for them.

        Args:
            captions: at least image_uri, never null. An image that several captions of a batch share is opened once.
            prepare: makes of the pixels what is wanted of them, in the thread, so that large images are soon let go.
            batch_size: captions that are handed over together.

        Yields:
            The captions in their order with their images.
        """
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="original-image")
        batches_ahead = 1 + _READERS // batch_size
        waiting: deque[tuple[pl.DataFrame, dict[str, Future[Prepared | ImageError]]]] = deque()
        try:
            for batch in captions.iter_slices(batch_size):
                uris = batch["image_uri"].unique(maintain_order=True)
                waiting.append((batch, {uri: pool.submit(self._prepared, uri, prepare) for uri in uris}))
                if len(waiting) > batches_ahead:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepared(self, uri: str, prepare: Callable[[np.ndarray], Prepared]) -> Prepared | ImageError:
        try:
            return prepare(self.open(uri))
        except ImageError as error:
            return error
        except Exception as error:  # a picture that a model's own transform cannot take must not stop a run
            return ImageError(f"cannot be prepared for the model: {_reason(error)}")

    def _read(self, uri: str) -> bytes:
        scheme, path = split_protocol(uri)
        member, chained, archive = path.partition("::")
        if chained and scheme in _ARCHIVES:
            return self._archive(scheme, archive).read(member)
        if scheme in _WEB:
            # A stream needs one request; with its size known the server is not asked for it first.
            with _web(scheme).open(uri, block_size=0, size=_MAX_BYTES) as stream:
                return _up_to_limit(stream)
        filesystem, path = url_to_fs(uri)
        with filesystem.open(path) as stream:
            return _up_to_limit(stream)

    def _archive(self, scheme: str, url: str) -> _Archive:
        with self._guard:
            archive = self._archives.setdefault((scheme, url), _Archive(scheme, url))
            self._archives.move_to_end((scheme, url))
            if len(self._archives) > _OPEN_ARCHIVES:
                self._archives.popitem(last=False)
            return archive


class _Archive:
    """An archive's files; opened once, since fsspec reads its whole index each time, and read by one thread a time."""

    def __init__(self, scheme: str, url: str) -> None:
        self._scheme = scheme
        self._url = url
        self._filesystem: fsspec.AbstractFileSystem | None = None
        self._failure: str | None = None
        self._one_at_a_time = threading.Lock()

    def read(self, member: str) -> bytes:
        with self._one_at_a_time, self._opened().open(member) as stream:
            return _up_to_limit(stream)

    def _opened(self) -> fsspec.AbstractFileSystem:
        if self._failure is None and self._filesystem is None:
            try:
                self._filesystem = fsspec.filesystem(self._scheme, fo=self._url)
            except Exception as error:  # kept, so that an archive of thousands is not tried thousands of times
                self._failure = f"its archive {self._url} cannot be opened: {_reason(error)}"
        if self._filesystem is None:
            raise OSError(self._failure)
        return self._filesystem


def _require_harmless(uri: str) -> None:
    """Refuse what no image is read by: other filesystems, in any part of a chain of them, pipes and devices."""
    *outer, last = uri.split("::")
    for part in (*outer, last):
        scheme, path = split_protocol(part)
        # Of a chain every part but the last names a filesystem, with or without slashes.
        if scheme is None and part in outer:
            scheme = part
        if scheme is not None and scheme not in _SCHEMES:
            raise ImageError(f"is not read: by {', '.join(sorted(_SCHEMES))} images are read, not by {scheme}")
    if scheme in (None, "file", "local") and "\0" not in path and Path(path).exists() and not Path(path).is_file():
        # To open a pipe would be to wait for who writes into it.
        raise ImageError("is not read: it is no file")


def _web(scheme: str) -> fsspec.AbstractFileSystem:
    import aiohttp

    patience = aiohttp.ClientTimeout(total=_SECONDS_TO_READ, sock_connect=_SECONDS_TO_CONNECT)
    return fsspec.filesystem(scheme, client_kwargs={"timeout": patience})


def _up_to_limit(stream: BinaryIO | Any) -> bytes:
    parts: list[bytes] = []
    length = 0
    # Streams from the network give what has come so far, which may be less than asked for.
    while length <= _MAX_BYTES and (part := stream.read(_MAX_BYTES + 1 - length)):
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _finished(captions: pl.DataFrame, futures: dict[str, Future[Prepared | ImageError]]) -> Opened[Prepared]:
    return Opened(captions, {uri: future.result() for uri, future in futures.items()})


def _reason(error: Exception) -> str:
    """What went wrong, without the image's own name where that can be told: equal failures are counted together."""
    if status := getattr(error, "status", None):
        return f"HTTP status {status}"
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
