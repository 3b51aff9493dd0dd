"""The beginning of a file, and what it tells of one that holds no captions whatever its name says."""

from __future__ import annotations

import codecs
import re

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.format_errors import FormatError

_HEAD_BYTES = 1 << 16
_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml)\b", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_PACKED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}
_OTHER_UNICODE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# Of two bytes for each letter of a Latin script one is zero; of text in UTF-8 none is.
_ZEROS_OF_UTF16 = 0.3
_CONTROLS = bytes({*range(0x20)} - set(b"\t\n\v\f\r\x1b"))
# A tenth of compressed or random data are control characters; of text, next to none are: a few of them spoil a row.
_CONTROLS_OF_BINARY = 0.02
_FEW_CONTROLS = 8


def read_head(file: SourceFile) -> bytes:
    """The first 64 KiB, decompressed.

    Raises:
        FormatError: the file is empty, or stands for another: a web page, a pointer of Git LFS, a zip archive.
    """
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES and not head.strip():
        raise FormatError("it is empty and holds no captions", "Name only files that hold captions, or get it again")
    if _PAGE.match(head.removeprefix(codecs.BOM_UTF8)):
        raise FormatError("it is a web page or another XML document", "Get the file again: the address may be wrong")
    if head.startswith(_LFS_POINTER):
        raise FormatError("it is a pointer of Git LFS and not the file itself", "Get the file: git lfs pull")
    if head.startswith(b"PK\x03\x04"):
        raise FormatError("it is a zip archive", f"Name a file inside it: path: zip://*.json::{file.url}")
    return head


def compression(head: bytes) -> str | None:
    """The usual name ending of a compressed file that begins like this; None when it is not compressed."""
    return next((ending for mark, ending in _PACKED.items() if head.startswith(mark)), None)


def require_text(head: bytes) -> None:
    """Raise FormatError when a file that should be text is compressed under another name, binary, or not in UTF-8."""
    if packed := compression(head):
        raise FormatError(f"it is compressed, and its name does not end in {packed}", f"Rename it to end in {packed}")
    zeros = head.count(0) / len(head)
    mark = next((name for mark, name in _OTHER_UNICODE.items() if head.startswith(mark)), None)
    encoding = mark or ("UTF-16" if zeros >= _ZEROS_OF_UTF16 else None)
    if zeros == 1:
        raise FormatError("it holds nothing but zero bytes", "Get the file again")
    if encoding:
        raise FormatError(
            f"its text is in {encoding}", f"Convert it: iconv -f {encoding} -t UTF-8 FILE > FILE.utf8, and name that"
        )
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > _FEW_CONTROLS and controls >= _CONTROLS_OF_BINARY * len(head):
        raise FormatError("it holds binary data and no text", "Name only files that hold captions")
