"""Local folders that are replaced whole: built aside, made durable, then swapped in.

On Linux the new folder and the old one change places in one step (renameat2 with RENAME_EXCHANGE,
https://man7.org/linux/man-pages/man2/rename.2.html), so that at every moment, also after kill -9 or a power cut,
exactly one whole folder stands at the place. Where the system or file system has no such step, the old folder is
renamed away before the new one is renamed in: a kill just between the two leaves no folder until the next replacement.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

TEMPORARY_PREFIX = ".tmp-"

_CURRENT_FOLDER = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Build a folder aside and put it in the place of `target`.

    What an earlier replacement of the same folder left behind when it was killed is removed; a replacement that is
    still at work, in this process or another, is left alone, and the one that ends last stands.

    Yields:
        An empty folder beside `target`. When the block ends without an error it takes the place of `target`; after an
        error or a kill the old folder stands as it was.

    Raises:
        OSError: the folders cannot be made or renamed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged, lock = _begin(target)
    try:
        yield staged
        _sync_file_system(staged)
        _swap(staged, target)
        sync(target.parent)
    finally:
        # After the swap it is the old folder that stands here.
        shutil.rmtree(staged, ignore_errors=True)
        os.close(lock)


def _begin(target: Path) -> tuple[Path, int]:
    """A new folder beside the target and the lock that says that it is in use; the kernel opens it when we die."""
    parent = os.open(target.parent, os.O_RDONLY)
    try:
        # Nobody looks for left-overs while a folder is there that is not locked yet.
        locks_work = _lock(parent, wait=True)
        if locks_work:
            _remove_left_overs(target)
        staged = target.with_name(f"{TEMPORARY_PREFIX}{target.name}.{uuid.uuid4().hex}")
        staged.mkdir()
        lock = os.open(staged, os.O_RDONLY)
        _lock(lock, wait=False)
    finally:
        os.close(parent)
    return staged, lock


def _remove_left_overs(target: Path) -> None:
    name = re.compile(rf"{re.escape(TEMPORARY_PREFIX + target.name)}\.[0-9a-f]{{32}}")
    for left in [entry for entry in target.parent.iterdir() if name.fullmatch(entry.name)]:
        try:
            lock = os.open(left, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            if _lock(lock, wait=False):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Whether the lock is ours; False too on file systems without locks (some network mounts)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _swap(staged: Path, target: Path) -> None:
    if not target.exists():
        os.rename(staged, target)
    elif not _exchanged(staged, target):
        discarded = staged.with_name(f"{TEMPORARY_PREFIX}{target.name}.{uuid.uuid4().hex}")
        os.rename(target, discarded)
        os.rename(staged, target)
        shutil.rmtree(discarded, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where that is not possible."""
    rename = getattr(_c_library(), "renameat2", None)
    if rename is None:
        return False
    return rename(_CURRENT_FOLDER, os.fsencode(one), _CURRENT_FOLDER, os.fsencode(other), _EXCHANGE) == 0


def _sync_file_system(folder: Path) -> None:
    """Put everything on the disk: one call, where a call for each of 100,000 small files would take minutes."""
    sync = getattr(_c_library(), "syncfs", None)
    if sync is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if sync(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Put one file or folder on the disk, so that it outlives a power cut; of a folder, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None, use_errno=True)
