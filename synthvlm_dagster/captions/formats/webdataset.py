"""WebDataset: tar files in which the files of one sample follow each other and share the name before the first dot."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.format_errors import FormatError, require_columns
from synthvlm_dagster.captions.parsing.objects import object_rows
from synthvlm_dagster.captions.parsing.text import UNDECODABLE
from synthvlm_dagster.captions.rows import Frames, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

_IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})
# A name whose last part starts with a dot has no key.
_NAME = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<suffix>[^/]+)")
# Samples looked at before a field that none of them has counts as a wrong name.
_PEEKED = 1000
_MAX_TEXT_BYTES = 16 << 20
# Where a sample's own image stands among the fields of its .json.
_OWN_IMAGE = "image in the tar"

_Item = tuple[dict[str, Any] | None, str | None]


def read_webdataset(file: SourceFile, source: CaptionSource) -> Frames:
    """A tar of samples such as `0001.jpg`, `0001.txt`, `0001.json`; also compressed. A row's number is its sample's.

    The caption is the `.txt`, or the field of the `.json` that `columns.text` names; where both exist, the field wins
    if the source names it. All other columns are fields of the `.json`. Without an image column, image_uri is an fsspec
    URL of the sample's own image: `tar://0001.jpg::<url of the tar>`.
    """
    columns = source.columns or SourceColumns()
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header) as archive:
            items = (_item(sample, columns, file.url) for sample in _samples(archive))
            peeked = list(islice(items, _PEEKED))
            fields = {field for item, _ in peeked if item for field in item}
            if fields - {columns.text, _OWN_IMAGE}:
                require_columns(columns, sorted(fields - {_OWN_IMAGE}))
            columns = columns.model_copy(update={"image": columns.image or _OWN_IMAGE})
            yield from to_frames(object_rows(chain(peeked, items), columns), columns.text)
    except tarfile.TarError as error:
        raise FormatError(f"a whole tar file is expected: {error}") from error


class _Header(tarfile.TarInfo):
    """A header that fails where tarfile would take a broken or missing one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            # At the start tarfile says itself that this is no tar; a block of zeros is the end.
            if archive.offset == 0 or isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError(f"it breaks off or is damaged at byte {archive.offset:,} ({error})") from error


@dataclass
class _Sample:
    key: str
    suffixes: set[str] = field(default_factory=set)
    texts: dict[str, bytes] = field(default_factory=dict)
    image: str | None = None


def _samples(archive: tarfile.TarFile) -> Iterator[_Sample]:
    sample = _Sample("")
    while member := archive.next():
        # The archive would keep every header it has read.
        archive.members = []  # type: ignore[attr-defined]
        name = _NAME.fullmatch(member.name)
        if not (name and member.isfile()):
            continue
        suffix = name["suffix"].lower()
        if name["key"] != sample.key or suffix in sample.suffixes:
            if sample.suffixes:
                yield sample
            sample = _Sample(name["key"])
        sample.suffixes.add(suffix)
        if suffix in ("txt", "json"):
            content = archive.extractfile(member)
            # Of a sparse member the size is what its header says, not what the file has.
            sample.texts[suffix] = content.read(_MAX_TEXT_BYTES + 1) if content else b""
        elif suffix in _IMAGE_SUFFIXES:
            sample.image = sample.image or member.name
    if sample.suffixes:
        yield sample


def _item(sample: _Sample, columns: SourceColumns, archive_url: str) -> _Item:
    """The fields of the sample, its .txt under the text column's name; or why it has none."""
    if not sample.texts:
        return None, "the sample has neither .txt nor .json"
    if too_long := next((suffix for suffix, text in sample.texts.items() if len(text) > _MAX_TEXT_BYTES), None):
        return None, f"the .{too_long} is larger than {_MAX_TEXT_BYTES >> 20} MiB"
    text_named = "text" in columns.model_fields_set
    others_named = any(columns.model_dump(exclude={"text"}).values())
    fields: dict[str, Any] = {}
    if "json" in sample.texts and (text_named or others_named or "txt" not in sample.texts):
        try:
            fields = json.loads(sample.texts["json"])
        except UnicodeDecodeError:
            return None, "the .json is not valid UTF-8"
        except (ValueError, RecursionError):
            return None, "the .json is not valid JSON"
        if not isinstance(fields, dict):
            return None, "the .json is not an object"
    if "txt" in sample.texts and not (text_named and columns.text in fields):
        text = sample.texts["txt"].decode("utf-8-sig", UNDECODABLE)
        fields[columns.text] = text.removesuffix("\n").removesuffix("\r")
    if sample.image:
        fields[_OWN_IMAGE] = f"tar://{sample.image.lstrip('/')}::{archive_url}"
    return fields, None


FORMAT = Format(
    name="webdataset",
    layout="tar files of `KEY.jpg` beside `KEY.txt` or `KEY.json`",
    read=read_webdataset,
    detect=lambda sample, _: sample.kind == "tar",
    is_text=False,
)
