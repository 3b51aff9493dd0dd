"""Whether the original images of captions are the files that they were: by size and time of change, without reading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import polars as pl

_HERE = ("", "file", "local")
_DIGEST_BYTES = 8
MISSING = "missing"


def picture_states(uris: pl.Series) -> pl.Series:
    """What is known of the files that images are read from.

    Args:
        uris: String, null for a caption without image; paths and URLs as `OriginalImages.open` takes them.

    Returns:
        String, never null: size in bytes and time of change in nanoseconds of the file, or of the archive that the
        image is in; `MISSING`; empty for no image, and for one on another machine, which is not asked.
    """
    known = {uri: _state(uri) for uri in uris.unique() if uri is not None}
    return pl.Series("picture", [known.get(uri, "") for uri in uris], pl.String)


def digest_of_pictures(uris: Iterable[str], states: Iterable[str]) -> str:
    """16 hexadecimal digits for what is known of images, whatever their order."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for uri, state in sorted(set(zip(uris, states, strict=True))):
        digest.update(f"{uri}\0{state}\0".encode())
    return digest.hexdigest()


def _state(uri: str) -> str:
    # Of a chain such as tar://a.jpg::b.tar the last is the file.
    scheme, has_scheme, path = uri.rpartition("::")[2].rpartition("://")
    if (scheme if has_scheme else "") not in _HERE:
        return ""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return MISSING
    return f"{found.st_size} {found.st_mtime_ns}"
