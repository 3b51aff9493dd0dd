"""Verdicts of blocking checks that failed, kept in the store until the check passes.

What such a check has refused is not up to date: every later run makes it again, as far as it is not there, asks its
check again, and goes no further while it fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthvlm_dagster.store.storage import Storage

FAILED_CHECKS = "failed_checks"


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
    path = f"{FAILED_CHECKS}/{place}/{check}.txt"
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
    for path in storage.files(f"{FAILED_CHECKS}/{place}"):
        check = path.rpartition("/")[2].removesuffix(".txt")
        return f"its check {check} failed: {storage.read_bytes(path).decode(errors='replace')}"
    return None


def refused_shards(storage: Storage, table: str) -> set[str]:
    """Partition keys of the shards of a table, kept in many files, that a check refused.

    Args:
        storage: the store.
        table: the folder that holds a folder for each shard.

    Raises:
        StorageError: the store cannot be reached.
    """
    folder = f"{FAILED_CHECKS}/{table}/"
    return {path.removeprefix(folder).partition("/")[0] for path in storage.files(folder.rstrip("/"))}
