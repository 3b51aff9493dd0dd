"""Text out of bytes that should be UTF-8 and sometimes are not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from synthvlm_dagster.captions.parsing.format_errors import FormatError

UNDECODABLE = "surrogateescape"
"""Codec error handler: each undecodable byte becomes a lone surrogate, which marks the one row that holds it."""

_LONGEST_LINE = 1 << 24
_MOST_EMPTY_LINES = 1_000_000
_EMPTY_LINES = frozenset({"\n", "\r\n", "\r"})


def whole_lines(stream: BinaryIO, newline: str) -> Iterator[str]:
    """The lines with their ends, decoded without ever failing, and without a byte order mark.

    Empty lines at the end are left out.

    Args:
        stream: bytes of a text file.
        newline: where lines end, as for `open`.

    Raises:
        FormatError: a line is so long, or so many are empty, that the file can be no list of lines.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors=UNDECODABLE, newline=newline)
    held: list[str] = []
    for number, line in enumerate(iter(partial(text.readline, _LONGEST_LINE), "")):
        if len(line) == _LONGEST_LINE:
            raise FormatError(f"line {number + 1} is longer than {_LONGEST_LINE:,} characters")
        if line in _EMPTY_LINES:
            held.append(line)
            if len(held) == _MOST_EMPTY_LINES:
                raise FormatError(f"{_MOST_EMPTY_LINES:,} empty lines follow each other up to line {number + 1:,}")
            continue
        if held:
            yield from held
            held.clear()
        yield line


def lines(stream: BinaryIO) -> Iterator[str]:
    r"""The lines, which end in \n or \r\n, without their ends; errors as `whole_lines`.

    Raises:
        FormatError: also when \r alone ends the lines.
    """
    for number, line in enumerate(whole_lines(stream, newline="\n")):
        if number == 0 and not line.endswith("\n") and "\r" in line.rstrip("\r"):
            raise FormatError(
                "its lines end in \\r alone", "Convert them: tr '\\r' '\\n' < FILE > FILE.lines, and name that"
            )
        yield line.removesuffix("\n").removesuffix("\r")
