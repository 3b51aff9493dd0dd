"""What files and model folders hold: digests that are cheap to ask again.

A digest is kept with the file's size, inode and times of change, and serves as long as these are as they were. A file
that was changed a moment before it was read could be changed once more without a sign of it; of such a one nothing is
kept. What is kept stands in `$XDG_CACHE_HOME/synthvlm_dagster/contents`, and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from synthvlm_dagster.errors import ModelError

_BLOCK = 1 << 20
_DIGEST_BYTES = 8
_SMALL = 1 << 20
"""Bytes up to which a file is rather read again than looked up on the disk."""
_SMALL_LASTS = 5.0
"""Seconds for which a process does not read a small file again."""
_RACY = 2.0
"""Seconds: file systems tell times of change no finer, the coarsest of them."""

_Stamp = tuple[int, int, int, int]
_known: dict[Path, tuple[_Stamp, float, str]] = {}
"""What this process has digested: stamp, when, digest."""


def content_of(path: Path) -> str:
    """16 hexadecimal digits for what a file holds, or for the names and contents of all files below a folder.

    Where they stand does not matter, nor whether a file or folder is there itself or by a symbolic link.

    Raises:
        ModelError: a file cannot be read.
    """
    try:
        if path.is_file():
            return _content_of_file(path)
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for file in _files_below(path):
            digest.update(f"{file.relative_to(path).as_posix()}\0{_content_of_file(file)}\0".encode())
        return digest.hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}. Make it readable, or name another in the recipe") from error


def _files_below(folder: Path, around: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Every file, in order of path; of a link that leads back to a folder `around` it, nothing."""
    here = folder.resolve()
    if here in around:
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _files_below(entry, around | {here})
        elif entry.is_file():
            yield entry


def _content_of_file(file: Path) -> str:
    stamp = _stamp(file)
    small = stamp[0] <= _SMALL
    known = _known.get(file)
    if known and known[0] == stamp and (not small or time.monotonic() - known[1] < _SMALL_LASTS):
        return known[2]
    digest = (None if small else _kept(file, stamp)) or _read(file)
    if _settled(stamp) and _stamp(file) == stamp:
        _known[file] = stamp, time.monotonic(), digest
        if not small:
            _keep(file, stamp, digest)
    return digest


def _stamp(file: Path) -> _Stamp:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _settled(stamp: _Stamp) -> bool:
    """Whether the file's last change is so long ago that another one would show."""
    _, modified, changed, _ = stamp
    return max(modified, changed) / 1e9 < time.time() - _RACY


def _read(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _kept(file: Path, stamp: _Stamp) -> str | None:
    try:
        kept = json.loads(_place(file).read_bytes())
        return str(kept["digest"]) if kept["stamp"] == list(stamp) and kept["file"] == str(file.resolve()) else None
    # Not there, cut, or another program's.
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(file: Path, stamp: _Stamp, digest: str) -> None:
    place = _place(file)
    beside = place.with_name(f".{uuid.uuid4().hex}")
    # Where there is no room or no right to keep it, it is read again next time.
    with suppress(OSError):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({"file": str(file.resolve()), "stamp": stamp, "digest": digest}))
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)


def _place(file: Path) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.blake2b(str(file.resolve()).encode(), digest_size=16).hexdigest()
    return home / "synthvlm_dagster" / "contents" / f"{name}.json"
