"""Items of JSON files larger than memory, whatever their strings hold.

JSON written by crawls has strings with bytes that are not UTF-8, and with escapes of half a surrogate pair. Either
would end a parser's work, or pass as some other text: both become `rows.UNREADABLE` before the parser sees them, so
that they cost their own row only.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.format_errors import FormatError
from synthvlm_dagster.captions.parsing.text import UNDECODABLE
from synthvlm_dagster.captions.rows import UNREADABLE

_BLOCK = 1 << 16
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPED_FIRST_HALF = re.compile(r"\\u[dD][89abAB]")
# In the order in which they are tried at a backslash: another backslash, a pair, half of one.
_ESCAPES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
# As long as what it replaces, so that errors are found where they are in the file.
_UNREADABLE_ESCAPE = json.dumps(UNREADABLE).strip('"')
_ESCAPE_LENGTH = len(r"\ud83d")
# ijson 3.6 crashes on numbers of more digits than CPython converts, 4,300; of these, one of two blocks has 2,000.
_HUGE_NUMBER = re.compile("[0-9]{2000}")
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
# Brackets in captions need not be balanced; of so many it is worth to know.
_MANY_UNCLOSED = 10_000
_DEEPEST = 20_000
_LONGEST_STRING = 1 << 22
_PARSER_ERRORS = (ijson.JSONError, ValueError, ArithmeticError)
_CONTEXT = 40


def json_items(file: SourceFile, prefix: str) -> Iterator[Any]:
    """The values at an ijson prefix, `item` for those of a list, as Python values; numbers are int or Decimal.

    Raises:
        FormatError: the file is not valid JSON; the message says at which line and column.
    """
    with file.open() as stream:
        content = _Repaired(stream, file)
        try:
            yield from ijson.items(content, prefix, buf_size=_BLOCK)
        except _PARSER_ERRORS as error:
            raise _located(error, file, content.last_block) from error


def json_start(file: SourceFile) -> str:
    """The first character that is no space: `[` of a list, `{` of an object; empty for an empty file."""
    with file.open() as stream:
        content = _Repaired(stream, file)
        while block := content.read(_BLOCK):
            if start := block.lstrip()[:4]:
                return start.decode(errors="ignore")[:1]
    return ""


def json_outline(file: SourceFile) -> dict[str, str]:
    """The fields of a file that is one object, each with ijson's name of the event that begins its value.

    Raises:
        FormatError: as `json_items`.
    """
    fields: dict[str, str] = {}
    field = None
    with file.open() as stream:
        content = _Repaired(stream, file)
        try:
            for prefix, event, value in ijson.parse(content, buf_size=_BLOCK):
                if not prefix and event == "map_key":
                    field = value
                elif prefix == field and field is not None:
                    fields.setdefault(field, event)
        except _PARSER_ERRORS as error:
            raise _located(error, file, content.last_block) from error
    return fields


class _Repaired:
    """The bytes of a JSON file as valid UTF-8 without halves of surrogate pairs, in blocks."""

    def __init__(self, stream: BinaryIO, file: SourceFile) -> None:
        self.last_block = -1
        """0-based number of the block that was read last."""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(UNDECODABLE)
        self._held = ""
        self._file = file
        self._unclosed: int | None = 0
        """Brackets opened and not closed, those in strings counted too; None when they have been looked at."""

    def read(self, size: int = _BLOCK) -> bytes:
        """The next block, of about `size` bytes; empty at the end, and when none are asked for."""
        text = ""
        while size and not text:
            data = self._stream.read(size)
            text = self._held + self._decoder.decode(data, final=not data)
            if not data:
                self._held = ""
                break
            end = _end_of_closed_escapes(text)
            text, self._held = text[:end], text[end:]
        self.last_block += bool(size)
        if self._unclosed is not None:
            self._unclosed += sum(map(text.count, "[{")) - sum(map(text.count, "]}"))
            if self._unclosed > _MANY_UNCLOSED:
                _require_shallow(self._file)
                self._unclosed = None
        if any(text[at : at + 1000].isdecimal() for at in range(0, len(text), 1000)):
            text = _HUGE_NUMBER.sub(lambda found: UNREADABLE * len(found[0]), text)
        if _ESCAPED_SURROGATE.search(text):
            text = _ESCAPES.sub(lambda found: _UNREADABLE_ESCAPE if found["half"] else found[0], text)
        try:
            return text.encode()
        except UnicodeEncodeError:
            return _LONE_SURROGATE.sub(UNREADABLE, text).encode()


def _require_shallow(file: SourceFile) -> None:
    """Refuse nesting of which ijson would make names that fill the memory: they grow with the square of the depth."""
    depth, held = 0, ""
    with file.open() as stream:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        while data := stream.read(_BLOCK):
            text = held + decoder.decode(data)
            end = 0
            for token in _STRING_OR_BRACKET.finditer(text):
                end = token.end()
                if token[0] in "[{":
                    depth += 1
                    if depth > _DEEPEST:
                        raise FormatError(f"its lists and objects are nested deeper than {_DEEPEST:,}")
                elif token[0] in "]}":
                    depth -= 1
            opened = text.find('"', end)
            held = text[opened:] if opened >= 0 else ""
            if len(held) > _LONGEST_STRING:
                raise FormatError(
                    f"it holds a string of more than {_LONGEST_STRING:,} characters, or a quote is missing"
                )


def _end_of_closed_escapes(text: str) -> int:
    """Where to cut a block's text so that neither an escape nor a pair of them goes on in the next block."""
    last = text.rfind("\\", -2 * _ESCAPE_LENGTH)
    if last < 0 or not _opens_escape(text, last):
        return len(text)
    before = last - _ESCAPE_LENGTH
    pair = before >= 0 and _ESCAPED_FIRST_HALF.match(text, before) and _opens_escape(text, before)
    return before if pair else last


def _opens_escape(text: str, at: int) -> bool:
    """False for the second of two backslashes, and for the fourth of four."""
    run = at
    while run >= 0 and text[run] == "\\":
        run -= 1
    return (at - run) % 2 == 1


def _located(error: Exception, file: SourceFile, bad_block: int) -> FormatError:
    """An error that tells its place, which parsing the known block again, byte by byte, finds."""
    line, column, before = 1, 1, b""
    with file.open() as stream:
        content = _Repaired(stream, file)
        parser = ijson.basic_parse_coro(events := ijson.sendable_list())
        for _ in range(bad_block):
            block = content.read(_BLOCK)
            parser.send(block)
            events.clear()
            line, column = _place_after(block, line, column)
            before = block[-_CONTEXT:]
        block = content.read(_BLOCK)
    valid = block[: _valid_bytes(parser, block)]
    line, column = _place_after(valid, line, column)
    after = (before + valid)[-_CONTEXT:].decode(errors="ignore")
    reason = _reason(error) if block else "the file ends before its JSON does"
    return FormatError(f"line {line}, column {column} is not valid JSON: {reason}, after {after!r}")


def _valid_bytes(parser: Any, block: bytes) -> int:
    for end in range(len(block)):
        try:
            parser.send(block[end : end + 1])
        except _PARSER_ERRORS:
            return end
    return len(block)


def _place_after(block: bytes, line: int, column: int) -> tuple[int, int]:
    text = block.decode()
    if newlines := text.count("\n"):
        return line + newlines, len(text) - text.rfind("\n")
    return line, column + len(text)


def _reason(error: Exception) -> str:
    """The first of ijson's lines, of which the others show the place."""
    reason = error.args[0] if error.args else type(error).__name__
    text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return text.partition("\n")[0].rstrip(".")
