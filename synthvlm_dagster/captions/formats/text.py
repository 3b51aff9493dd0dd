"""Text out of bytes that should be UTF-8 and sometimes are not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

UNDECODABLE = "surrogateescape"
"""Codec error handler: each undecodable byte becomes a lone surrogate, which marks the one row that holds it."""


def text_stream(stream: BinaryIO, newline: str) -> io.TextIOWrapper:
    """Decode without ever failing, and without a byte order mark; `newline` as for `open`."""
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors=UNDECODABLE, newline=newline)


def lines(stream: BinaryIO) -> Iterator[str]:
    r"""The lines, which end in \n or \r\n, without their ends."""
    return (line.removesuffix("\n").removesuffix("\r") for line in text_stream(stream, newline="\n"))
