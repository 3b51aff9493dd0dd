"""Folders of the store that are replaced whole, such as exports."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.folder_swap import TEMPORARY_PREFIX, replaced_folder
from synthvlm_dagster.store.made_from import FOLDERS_RECORD, MadeFrom, digest_of_files
from synthvlm_dagster.store.paths import StoredFiles
from synthvlm_dagster.store.remote_files import version_of


class PublishedFolders(StoredFiles):
    """The folders of a store that are replaced whole; see `Storage`."""

    @contextmanager
    def replaced_folder(self, folder: str, last: Sequence[str] = ()) -> Iterator[Path]:
        """Build a folder aside and swap it in whole.

        On a local disk that is one step, see `folder_swap`. An object store has none: everything is uploaded beside the
        old folder, which stands as it was until that is done. Then the store itself copies the files into their places:
        first those that others refer to, then those of `last`, in order; at the end what the new folder has not is
        deleted. Who begins with the files of `last` finds what they name, old or new, unless files of the two versions
        have the same name.

        Args:
            folder: where it shall stand.
            last: files, by their path below the folder, that tell a reader which others there are.

        Yields:
            An empty local folder to fill. When the block ends without an error its files take the place of what stood
            at `folder`; after an error or, on a local disk, a kill, the old folder stands as it was.

        Raises:
            StorageError: the folder cannot be written.
        """
        target = self._inside(folder, follow=True)
        try:
            with self._explained(folder, "written"):
                self._require_known_format()
                self._mark_format()
            if self._is_local:
                with replaced_folder(Path(target)) as staged:
                    yield staged
            else:
                with tempfile.TemporaryDirectory() as local:
                    yield Path(local)
                    self._upload_folder(Path(local), folder, last)
        except OSError as error:
            raise StorageError(f"{self.url(folder)}: cannot be written: {error}") from error

    @contextmanager
    def recorded_folder(self, folder: str, made_from: MadeFrom) -> Iterator[None]:
        """Record what a folder is made from that the block writes, in one file or in many.

        Its old record goes first, and the new one comes last: a folder that is half of the one and half of the other,
        or was left so by a kill, has none.

        Args:
            folder: where it stands.
            made_from: what it is made from; written into it, with the version of its files, when the block ends.

        Raises:
            StorageError: the record cannot be written.
        """
        path = f"{folder}/{FOLDERS_RECORD}"
        self.delete(path)
        yield
        seen = self._seen(folder)
        self.write_bytes(path, made_from.written(self.folder_version(folder), seen).to_bytes())

    def folder_made_from(self, folder: str) -> MadeFrom | None:
        """The record that a folder carries; None where it carries none.

        Raises:
            StorageError: the store cannot be reached.
        """
        path = f"{folder}/{FOLDERS_RECORD}"
        return MadeFrom.parse(self.read_bytes(path)) if self.exists(path) else None

    def recorded_version(self, folder: str) -> str:
        """Version in the record that a folder carries; empty where it carries none.

        Raises:
            StorageError: the store cannot be reached.
        """
        made = self.folder_made_from(folder)
        return made.version if made else ""

    def folder_is_as_written(self, folder: str, made: MadeFrom) -> bool:
        """Whether a folder holds what it held when its record was written.

        Its files are read only where their names, sizes or times of change are others; an object store tells what they
        hold without that.

        Raises:
            StorageError: the store cannot be reached.
        """
        return made.seen == self._seen(folder) or made.version == self.folder_version(folder)

    def folder_version(self, folder: str) -> str:
        """Digest of the files that stand in a folder now, by name; its record does not count.

        Of an object store it is of the tags that the store gives to what files hold.

        Raises:
            StorageError: the store cannot be reached.
        """
        if not self._is_local:
            return self._seen(folder)
        with self._explained(folder, "read"):
            return digest_of_files(
                {
                    path.removeprefix(f"{folder}/"): _digest(Path(self._inside(path)))
                    for path in self._listed(folder)
                    if not path.endswith(FOLDERS_RECORD)
                }
            )

    def _seen(self, folder: str) -> str:
        """Digest of what the store tells of a folder's files without reading them, as far as it tells anything."""
        listed = self._listed(folder, sizes=True)
        of_file = _stamp if self._is_local else self._tag
        return digest_of_files(
            {path.removeprefix(f"{folder}/"): of_file(path, details) for path, details in listed.items()}
        )

    def _tag(self, path: str, details: Mapping[str, Any]) -> str:
        version = version_of(details)
        return f"{version.size} {version.tag}" if version.tag else hashlib.blake2b(self.read_bytes(path)).hexdigest()

    def _upload_folder(self, source: Path, folder: str, last: Sequence[str]) -> None:
        fresh = sorted(file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file())
        referring = [name for name in last if name in fresh]
        staged = f"{TEMPORARY_PREFIX}{folder.replace('/', '.')}.{uuid.uuid4().hex}"
        staged_at, stands_at = ({name: self._full(f"{at}/{name}") for name in fresh} for at in (staged, folder))
        beside = list(staged_at.values())
        try:
            with self._explained(folder, "written"):
                if fresh:
                    self._fs.put([str(source / name) for name in fresh], beside)
                for names in [[name for name in fresh if name not in referring], *([name] for name in referring)]:
                    if names:
                        self._fs.copy([staged_at[name] for name in names], [stands_at[name] for name in names])
                stale = set(self.files(folder)) - {f"{folder}/{name}" for name in fresh}
                self._delete_all([self._full(path) for path in sorted(stale)])
        finally:
            # Where the store is out of reach they stay; nothing reads them.
            with suppress(Exception):
                self._delete_all(beside)


def _stamp(_: str, details: Mapping[str, Any]) -> str:
    return f"{details['size']} {details['mtime']}"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()
