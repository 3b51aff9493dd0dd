"""Verdicts of blocking checks that failed or are still to come, kept in the store until the check passes.

What such a check has refused is not up to date: every later run makes it again, as far as it is not there, asks its
check again, and goes no further while it fails. So is what was made by a run that was killed before it was checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthvlm_dagster.store.storage import Storage

FAILED_CHECKS = "failed_checks"
_NOT_ASKED = b""


def await_verdicts(storage: Storage, place: str, *checks: str) -> None:
    """Keep that checks are still to be asked of what is about to be made; as `keep_verdict`."""
    for check in checks:
        storage.write_bytes(_path(place, check), _NOT_ASKED)


def keep_verdict(storage: Storage, place: str, check: str, failure: str | None) -> None:
    """Keep what a check of a table, of a folder or of a shard has found.

    Args:
        storage: the store.
        place: where the table, folder or shard stands.
        check: name of the check.
        failure: why it failed; None: it passed, and what it found before holds no more.

    Raises:
        StorageError: the store cannot be reached.
    """
    path = _path(place, check)
    if failure is not None:
        storage.write_bytes(path, failure.encode())
    elif storage.exists(path):
        storage.delete(path)


def forget_verdicts(storage: Storage, place: str) -> None:
    """Forget what checks have found of what has been deleted.

    Raises:
        StorageError: the store cannot be reached.
    """
    for path in storage.files(f"{FAILED_CHECKS}/{place}"):
        storage.delete(path)


def why_refused(storage: Storage, place: str) -> str | None:
    """The name of a check that refused what stands at a place, and why; None where none did.

    Raises:
        StorageError: the store cannot be reached.
    """
    for check, verdict in _verdicts(storage, place):
        if verdict != _NOT_ASKED:
            return f"its check {check} failed: {verdict.decode(errors='replace')}"
    return None


def why_unchecked(storage: Storage, place: str) -> str | None:
    """The name of a check that has not been asked of what stands at a place; None where all were, or one refused it.

    Raises:
        StorageError: the store cannot be reached.
    """
    verdicts = list(_verdicts(storage, place))
    if not verdicts or any(verdict != _NOT_ASKED for _, verdict in verdicts):
        return None
    return f"its check {verdicts[0][0]} has not been asked since it was made"


def refused_shards(storage: Storage, table: str) -> set[str]:
    """Partition keys of the shards of a table, kept in many files, that a check refused or was not asked of.

    Args:
        storage: the store.
        table: the folder that holds a folder for each shard.

    Raises:
        StorageError: the store cannot be reached.
    """
    folder = f"{FAILED_CHECKS}/{table}/"
    return {path.removeprefix(folder).partition("/")[0] for path in storage.files(folder.rstrip("/"))}


def _path(place: str, check: str) -> str:
    return f"{FAILED_CHECKS}/{place}/{check}.txt"


def _verdicts(storage: Storage, place: str) -> Iterator[tuple[str, bytes]]:
    for path in storage.files(f"{FAILED_CHECKS}/{place}"):
        yield path.rpartition("/")[2].removesuffix(".txt"), storage.read_bytes(path)
