"""Files that nothing refers to, gathered into what a person would call one thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from synthvlm_dagster.attempts.nights import NIGHTS_ATTEMPTS
from synthvlm_dagster.captions.measures.measurements import MEASUREMENTS
from synthvlm_dagster.operations.garbage.references import References
from synthvlm_dagster.store.failed_checks import FAILED_CHECKS
from synthvlm_dagster.store.folder_swap import TEMPORARY_PREFIX
from synthvlm_dagster.store.storage import QUARANTINE_SUFFIX, Storage, StoredFile

TEMPORARY = "temporary, left behind by a writer that was killed"
QUARANTINED = "damaged and quarantined; its rows have been made again, or will be"

_FINGERPRINTED = re.compile(r".+-[0-9a-f]{10}")
"""How this project names folders whose content depends on settings; others are not touched."""

_ORDER = ("", FAILED_CHECKS, "scores", "embeddings", "plans", "failed_images", "images", "captions")
"""In which things are deleted, by the first part of their path: scores before the images that they are of."""


class Garbage(NamedTuple):
    """A file, or a folder of a table, that nothing refers to."""

    path: str
    reason: str
    files: tuple[StoredFile, ...]

    @property
    def bytes(self) -> int:
        """What deleting it frees."""
        return sum(file.size for file in self.files)

    @property
    def modified(self) -> float | None:
        """When something in it was last written, in seconds since 1970; None where the store does not say."""
        times = [file.modified for file in self.files]
        return None if None in times else max(time for time in times if time is not None)

    def has_rested(self, seconds: float, now: float) -> bool:
        """Whether nothing in it has been written for so long, so that no run can be at work on it.

        Where the store does not say, it counts as written just now.
        """
        written = now if self.modified is None else self.modified
        return seconds == 0 or now - written > seconds


def find_garbage(files: Iterable[StoredFile], references: References) -> list[Garbage]:
    """What no recipe and no selected pair refers to, in the order in which it may be deleted.

    Only files in places where this project writes, with names as it gives them, are ever garbage.

    Args:
        files: of the store, as `Storage.every_file` lists them.
        references: what must stay.
    """
    things: dict[tuple[str, str], list[StoredFile]] = {}
    for file in files:
        found = _garbage(file.path, references)
        if found:
            things.setdefault(found, []).append(file)
    garbage = [Garbage(path, reason, tuple(files)) for (path, reason), files in things.items()]
    return sorted(garbage, key=lambda thing: (_rank(thing), thing.path))


def delete_garbage(storage: Storage, garbage: Iterable[Garbage]) -> Iterator[Garbage]:
    """Delete things one after the other; killed at any moment, it leaves a sound store, and goes on next time.

    Yields:
        Each thing when it is gone.

    Raises:
        StorageError: a file cannot be deleted.
    """
    for thing in garbage:
        for file in thing.files:
            storage.delete(file.path)
        if thing.files[0].path != thing.path:
            storage.delete_empty_folders(thing.path)
        yield thing


def _garbage(path: str, references: References) -> tuple[str, str] | None:
    """The thing that a file belongs to, and why that is garbage; None where it is not."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if part.startswith(TEMPORARY_PREFIX):
            return "/".join(parts[: number + 1]), TEMPORARY
    if path.endswith(f".parquet{QUARANTINE_SUFFIX}"):
        return path, QUARANTINED
    if parts[0] == FAILED_CHECKS:
        of_what = _garbage("/".join(parts[1:]), references)
        return of_what and (f"{FAILED_CHECKS}/{of_what[0]}", of_what[1])
    match parts:
        case ["images" | "failed_images", generator, _, _]:
            return _of_generator(f"{parts[0]}/{generator}", generator, references)
        case ["plans", _, generator, _, _] if "/".join(parts[:2]) == NIGHTS_ATTEMPTS:
            return _of_generator(f"plans/{parts[1]}/{generator}", generator, references)
        case ["scores", "references", table, _]:
            return _of_comparison(f"scores/references/{table}", table, references)
        case ["scores" | "embeddings", generator, made_by, _, _]:
            return _of_measurer(parts[0], generator, made_by, references)
        case ["captions", "measurements", measure, _]:
            known = references.measurements
            if known is not None and f"{MEASUREMENTS}/{measure}" not in known and _FINGERPRINTED.fullmatch(measure):
                return f"{MEASUREMENTS}/{measure}", "captions measured in a way that no recipe asks for"
    return None


def _of_generator(folder: str, generator: str, references: References) -> tuple[str, str] | None:
    if references.unknown_pairs or generator in references.generators or not _FINGERPRINTED.fullmatch(generator):
        return None
    return folder, "of a generator that no recipe names"


def _of_measurer(kind: str, generator: str, made_by: str, references: References) -> tuple[str, str] | None:
    folder = f"{kind}/{generator}/{made_by}"
    if generator not in references.generators:
        return _of_generator(folder, generator, references)
    if references.unknown_pairs or generator in references.whole or folder in references.tables:
        return None
    measurer = "scorer or judge" if kind == "scores" else "CLIP model"
    return (folder, f"of a {measurer} that no recipe names") if _FINGERPRINTED.fullmatch(made_by) else None


def _of_comparison(folder: str, table: str, references: References) -> tuple[str, str] | None:
    if not _FINGERPRINTED.fullmatch(table) or folder in references.comparisons:
        return None
    named = table.rpartition("-")[0] in references.comparisons
    return None if named else (folder, "of a comparison that no recipe names")


def _rank(thing: Garbage) -> int:
    if thing.reason in (TEMPORARY, QUARANTINED):
        return 0
    return _ORDER.index(thing.path.split("/")[0])
