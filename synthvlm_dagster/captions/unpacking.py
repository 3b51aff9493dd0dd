"""Compressed files as they are unpacked: those made to fill memory or disk are refused on the way."""

from __future__ import annotations

import io
from typing import Any

from synthvlm_dagster.errors import CaptionSourceError

_HARMLESS_BYTES = 64 << 20
_LARGEST_RATIO = 400
"""Captions pack to a third or a tenth of their size. What is large and unpacks to more than this was made for it."""


class Unpacked(io.RawIOBase):
    """A stream that ends with an error where it has grown beyond all measure.

    Args:
        stream: of the unpacked bytes.
        packed_bytes: length of the packed file.
        name: of the file, for the error.
    """

    def __init__(self, stream: Any, packed_bytes: int, name: str) -> None:
        self._stream = stream
        self._most = max(_HARMLESS_BYTES, _LARGEST_RATIO * packed_bytes)
        self._read = 0
        self._name = name

    def readinto(self, buffer: Any) -> int:
        """Read up to `len(buffer)` bytes.

        Raises:
            CaptionSourceError: more came out than any file of captions holds.
        """
        content = self._stream.read(len(buffer))
        self._read += len(content)
        if self._read > self._most:
            raise CaptionSourceError(
                f"{self._name}: unpacks to over {_LARGEST_RATIO} times its size, more than {self._most >> 20:,} MiB, "
                "which no file of captions does. Unpack it yourself if it is what you want, and name that file"
            )
        buffer[: len(content)] = content
        return len(content)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """As the stream of unpacked bytes."""
        return bool(self._stream.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As the stream of unpacked bytes."""
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        """As the stream of unpacked bytes."""
        return int(self._stream.tell())

    def close(self) -> None:
        """Close it and the file below."""
        if not self.closed:
            self._stream.close()
        super().close()
