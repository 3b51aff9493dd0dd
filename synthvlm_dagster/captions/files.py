"""The files that a source's path or glob names, on any fsspec filesystem, and when they last changed."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec
from fsspec.core import OpenFile
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression

from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource

_GLOB_SIGNS = "*?["
_DATASET_SUFFIXES = (".parquet", ".arrow")
_DATASET_CACHES = ("cache-", "indices")
# What filesystems call the mark of a file's content or the time of its last change, the surest first.
_CHANGE_MARKS = ("ETag", "etag", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class SourceFile:
    """One caption file: where it is, the name its rows are listed under, and a mark that changes when it does."""

    filesystem: fsspec.AbstractFileSystem
    path: str
    name: str
    change_mark: str

    @property
    def url(self) -> str:
        """The path as a person would type it: with the filesystem's scheme, unless it is local."""
        local = isinstance(self.filesystem, LocalFileSystem)
        return self.path if local else self.filesystem.unstrip_protocol(self.path)

    @property
    def folder(self) -> str:
        """Path or URL of the folder that holds the file, as `url`."""
        return posixpath.dirname(self.url)

    @property
    def compression(self) -> str | None:
        """fsspec's name of the compression that the file name tells, if any."""
        return infer_compression(self.path)

    @property
    def extension(self) -> str:
        """The last part of the name that does not tell a compression: `json` of `captions.json.gz`."""
        name = self.name.lower()
        if infer_compression(name):
            name = posixpath.splitext(name)[0]
        return posixpath.splitext(name)[1].removeprefix(".")

    def open(self) -> BinaryIO:
        """Open for reading; a name that ends in .gz, .zst, .bz2 or .xz is decompressed."""
        if self.compression == "zstd":
            import pyarrow as pa

            # Unlike zstandard's reader, which takes a cut file for a short one.
            return pa.CompressedInputStream(pa.PythonFile(self.filesystem.open(self.path), mode="r"), "zstd")
        return OpenFile(self.filesystem, self.path, compression=self.compression).open()


def find_files(source: CaptionSource) -> list[SourceFile]:
    """The files of a source, sorted by path. A row's file is named from the deepest folder that holds them all.

    Raises:
        CaptionSourceError: nothing is there, the glob matches no file, or the path is a folder and not a dataset.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(source.path)
        details = _matching(filesystem, path, source)
    except (ImportError, ValueError, OSError) as error:
        raise CaptionSourceError(f"source {source.name}: {source.path}: cannot be opened: {error}") from error
    folder = posixpath.commonpath([posixpath.dirname(found) for found in details])
    return [
        SourceFile(
            filesystem=filesystem,
            path=found,
            name=posixpath.relpath(found, folder) if folder else found,
            change_mark=f"{info.get('size')} {next((info[mark] for mark in _CHANGE_MARKS if info.get(mark)), '')}",
        )
        for found, info in sorted(details.items())
    ]


def _matching(filesystem: fsspec.AbstractFileSystem, path: str, source: CaptionSource) -> dict[str, dict[str, Any]]:
    if filesystem.isfile(path):
        return {path: filesystem.info(path)}
    if filesystem.isdir(path):
        return _in_folder(filesystem, path, source)
    if not any(sign in path for sign in _GLOB_SIGNS):
        raise CaptionSourceError(f"source {source.name}: {source.path}: no such file. Correct the source's path")
    found = filesystem.glob(path, detail=True)
    files = {name: info for name, info in found.items() if info["type"] == "file"}
    if not files:
        raise CaptionSourceError(
            f"source {source.name}: no file matches {source.path}. Correct the source's path, or put the files there"
        )
    return files


def _in_folder(filesystem: fsspec.AbstractFileSystem, folder: str, source: CaptionSource) -> dict[str, dict[str, Any]]:
    """The data files of a Hugging Face dataset, all its splits; other folders do not tell which files are captions."""
    if source.format != "huggingface":
        raise CaptionSourceError(
            f"source {source.name}: {source.path} is a folder. Name its files, for example {source.path}/*.json; "
            "or, if it is a Hugging Face dataset, set format: huggingface"
        )
    found = filesystem.find(folder, detail=True)
    files = {name: info for name, info in found.items() if _is_dataset_file(posixpath.relpath(name, folder))}
    if not files:
        raise CaptionSourceError(
            f"source {source.name}: {source.path}: holds no .parquet or .arrow files. Correct the source's path, "
            "or name the dataset's files and their format"
        )
    return files


def _is_dataset_file(path: str) -> bool:
    """False for what `datasets` and `huggingface_hub` keep beside the data: caches of computed rows, and indices."""
    parts = path.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return path.endswith(_DATASET_SUFFIXES) and not hidden and not parts[-1].startswith(_DATASET_CACHES)
