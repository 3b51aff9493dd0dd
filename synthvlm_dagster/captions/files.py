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
# What filesystems call the mark of a file's content or the time of its last change, the surest first.
_CHANGE_MARKS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


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
    def extension(self) -> str:
        """The last part of the name that does not tell a compression: `json` of `captions.json.gz`."""
        name = self.name.lower()
        if infer_compression(name):
            name = posixpath.splitext(name)[0]
        return posixpath.splitext(name)[1].removeprefix(".")

    def open(self) -> BinaryIO:
        """Open for reading; a name that ends in .gz, .zst, .bz2 or .xz is decompressed."""
        return OpenFile(self.filesystem, self.path, compression=infer_compression(self.path)).open()


def find_files(source: CaptionSource) -> list[SourceFile]:
    """The files of a source, sorted by path. A row's file is named from the deepest folder that holds them all.

    Raises:
        CaptionSourceError: nothing is there, the glob matches no file, or the path is a folder.
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
        raise CaptionSourceError(
            f"source {source.name}: {source.path} is a folder. Name its files, for example {source.path}/*.json"
        )
    if not any(sign in path for sign in _GLOB_SIGNS):
        raise CaptionSourceError(f"source {source.name}: {source.path}: no such file. Correct the source's path")
    found = filesystem.glob(path, detail=True)
    files = {name: info for name, info in found.items() if info["type"] == "file"}
    if not files:
        raise CaptionSourceError(
            f"source {source.name}: no file matches {source.path}. Correct the source's path, or put the files there"
        )
    return files
