"""The files that a source's path or glob names, on any fsspec filesystem, and when they last changed."""

from __future__ import annotations

import io
import posixpath
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec
from fsspec.archive import AbstractArchiveFileSystem
from fsspec.core import OpenFile
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression

from synthvlm_dagster.captions.unpacking import Unpacked
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource
from synthvlm_dagster.store.object_stores import filesystem_at

_GLOB_SIGNS = "*?["
_BLOCK = 1 << 16
_DATASET_SUFFIXES = (".parquet", ".arrow")
_CAPTION_SUFFIXES = (".tar", ".parquet", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".gz", ".zst", ".bz2", ".xz")
_DATASET_CACHES = ("cache-", "indices")
# What filesystems call the mark of a file's content or the time of its last change, the surest first.
_CHANGE_MARKS = ("ETag", "etag", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created", "CRC")


@dataclass(frozen=True)
class SourceFile:
    """One caption file: where it is, the name its rows are listed under, and a mark that changes when it does."""

    filesystem: fsspec.AbstractFileSystem
    path: str
    name: str
    change_mark: str
    archive: str = ""
    """Of a file inside an archive: `::` and the archive's own URL."""

    @property
    def url(self) -> str:
        """The path as a person would type it: with the filesystem's scheme, unless it is local."""
        return self._typed(self.path) + self.archive

    @property
    def siblings(self) -> tuple[str, str]:
        """What to write before and after a relative path for the file that it names beside this one."""
        folder = posixpath.dirname(self._path_alone)
        return self._typed(f"{folder.rstrip('/')}/" if folder else ""), self.archive

    @property
    def compression(self) -> str | None:
        """fsspec's name of the compression that the file name tells, if any."""
        name = infer_compression(self._path_alone)
        # Of a zip archive fsspec would read the first file alone.
        return name if name != "zip" else None

    @property
    def extension(self) -> str:
        """The last part of the name that does not tell a compression: `json` of `captions.json.gz`."""
        name = self._path_alone.lower()
        if self.compression:
            name = posixpath.splitext(name)[0]
        return posixpath.splitext(name)[1].removeprefix(".")

    @property
    def is_local(self) -> bool:
        """Whether it stands on this machine's disk."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def _packed_bytes(self) -> int | None:
        """Bytes that it takes where it is compressed; None where it is not, or nobody knows."""
        if not self.compression and not isinstance(self.filesystem, AbstractArchiveFileSystem):
            return None
        details = self.filesystem.info(self.path)
        return details.get("compress_size") or (details.get("size") if self.compression else None)

    @property
    def _path_alone(self) -> str:
        """The path without the query that web servers take."""
        if "http" not in self.filesystem.protocol:
            return self.path
        return urlsplit(self.path)._replace(query="", fragment="").geturl()

    def _typed(self, path: str) -> str:
        return path if self.is_local else self.filesystem.unstrip_protocol(path)

    def open(self) -> BinaryIO:
        """Open for reading; a name that ends in .gz, .zst, .bz2 or .xz is decompressed.

        Reading raises CaptionSourceError where more is unpacked than any file of captions holds.
        """
        if self.compression == "zstd":
            import pyarrow as pa

            # Unlike zstandard's reader, which takes a cut file for a short one.
            stream = pa.CompressedInputStream(pa.PythonFile(self.filesystem.open(self.path), mode="r"), "zstd")
        else:
            stream = OpenFile(self.filesystem, self.path, compression=self.compression).open()
        packed = self._packed_bytes
        return stream if packed is None else io.BufferedReader(Unpacked(stream, packed, self.url), _BLOCK)


def find_files(source: CaptionSource) -> list[SourceFile]:
    """The files of a source, sorted by path. A row's file is named from the deepest folder that holds them all.

    Raises:
        CaptionSourceError: nothing is there, the glob matches no file, or the path is a folder and not a dataset.
    """
    try:
        filesystem, path = filesystem_at(source.path)
        # A process that lives for weeks must see what has come since its first look.
        filesystem.invalidate_cache()
        details = _matching(filesystem, path, source)
    except CaptionSourceError:
        raise
    except ImportError as error:
        raise CaptionSourceError(f"source {source.name}: {source.path}: {error}") from error
    # Every filesystem has errors of its own: of its network client, of its archive format.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise CaptionSourceError(
            f"source {source.name}: {source.path}: cannot be opened: {reason}. Correct the source's path, or make what "
            "it names reachable"
        ) from error
    is_inside = isinstance(filesystem, AbstractArchiveFileSystem)
    folder = posixpath.commonpath([posixpath.dirname(found) for found in details])
    return [
        SourceFile(
            filesystem=filesystem,
            path=found,
            name=posixpath.relpath(found, folder) if folder else found,
            change_mark=f"{info.get('size')} {next((info[mark] for mark in _CHANGE_MARKS if info.get(mark)), '')}",
            archive="::" + source.path.partition("::")[2] if is_inside else "",
        )
        for found, info in sorted(details.items())
    ]


def _matching(filesystem: fsspec.AbstractFileSystem, path: str, source: CaptionSource) -> dict[str, dict[str, Any]]:
    if filesystem.isfile(path):
        return {path: filesystem.info(path)}
    if filesystem.isdir(path):
        return _in_folder(filesystem, path, source)
    if not any(sign in path for sign in _GLOB_SIGNS):
        with suppress(FileNotFoundError):
            # `isfile` calls a file on a server that cannot be reached no file; this tells why.
            filesystem.info(path)
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
        found = [name.rpartition("/")[2] for name in filesystem.ls(folder, detail=False)]
        ending = next((end for end in _CAPTION_SUFFIXES if any(name.endswith(end) for name in found)), ".json")
        raise CaptionSourceError(
            f"source {source.name}: {source.path} is a folder. Name its files, for example "
            f"{source.path.rstrip('/')}/*{ending}; or, if it is a Hugging Face dataset, set format: huggingface"
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
