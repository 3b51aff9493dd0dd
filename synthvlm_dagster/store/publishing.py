"""Folders of the store that are replaced whole, such as exports."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.folder_swap import TEMPORARY_PREFIX, replaced_folder
from synthvlm_dagster.store.made_from import FOLDERS_RECORD, MadeFrom, version_of_files
from synthvlm_dagster.store.paths import StoredFiles


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
        self.write_bytes(path, made_from.written(self.folder_version(folder)).to_bytes())

    def folder_made_from(self, folder: str) -> MadeFrom | None:
        """The record that a folder carries; None where it carries none.

        Raises:
            StorageError: the store cannot be reached.
        """
        path = f"{folder}/{FOLDERS_RECORD}"
        return MadeFrom.parse(self.read_bytes(path)) if self.exists(path) else None

    def folder_version(self, folder: str) -> str:
        """Version of the files that stand in a folder now; its record's where none was added, cut or deleted.

        Raises:
            StorageError: the store cannot be reached.
        """
        return version_of_files(
            {
                path.removeprefix(f"{folder}/"): int(details.get("size") or 0)
                for path, details in self._listed(folder, sizes=True).items()
            }
        )

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
