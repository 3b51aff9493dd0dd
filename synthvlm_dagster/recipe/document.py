"""The YAML text of a recipe as plain values, with limits: files of others are read, and mistakes are named by line.

PyYAML's safe loader runs no code, but it recurses into nesting, lets aliases multiply, takes the last of two equal
keys, and leaves some bad values to Python's own errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

MAX_BYTES = 1 << 20
"""Length of a recipe, in UTF-8."""
_MAX_DEPTH = 40
_MAX_NODES = 100_000
"""Values in a recipe, each alias counted as all that it stands for."""
_LARGEST_INTEGER = 2**63 - 1
_SHORTEST_TOO_LONG = 100
"""Characters of a number that is none in a recipe: Python refuses to convert thousands of digits."""
_FREE_TO_HOLD_CONTROL_CHARACTERS = "separator"

_BAD_VALUES = (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises for a scalar that is not of the type its tag or its looks say."""


def read_document(text: str) -> tuple[Any, yaml.Node | None]:
    """The values of a YAML text, and its nodes, which know their lines.

    Raises:
        yaml.YAMLError: it is no YAML of one document, is larger or deeper than a recipe can be, repeats a key, or holds
            a value that is not of its type; says where.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise yaml.YAMLError(f"it is longer than {MAX_BYTES >> 20} MiB, which no recipe is")
    _require_shallow(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _require_few(node)
        for mapping, inside in _scalars_and_mappings(node):
            if isinstance(mapping, yaml.MappingNode):
                _require_distinct_keys(mapping)
            else:
                _require_text(mapping, inside)
        return loader.construct_document(node), node
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Names the line of every value that cannot be made."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")):
            _require_short(node)
        try:
            value = super().construct_object(node, deep)
        except _BAD_VALUES as error:
            raise _mistake(
                f"{_shortened(str(node.value))} is not of the type {node.tag.rpartition(':')[2]}", node
            ) from (error)
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            raise _mistake(f"{_shortened(str(value))} is larger than 2**63 - 1", node)
        return value


def _require_shallow(text: str) -> None:
    """Look at the events, which come without recursion, before nodes are made of them."""
    loader = _Loader(text)
    depth = 0
    try:
        while loader.check_event():
            event = loader.get_event()  # type: ignore[no-untyped-call]  # so in its stubs
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise yaml.MarkedYAMLError(problem=f"nested deeper than {_MAX_DEPTH}", problem_mark=event.start_mark)
    except (ValueError, OverflowError) as error:
        # An escape of a character that there is not.
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=loader.get_mark()) from error
    finally:
        loader.dispose()


def _require_few(root: yaml.Node) -> None:
    measured: dict[int, tuple[int, int] | None] = {}

    def measure(node: yaml.Node, above: int) -> tuple[int, int]:
        """Values in a node, and how deep it is, aliases followed."""
        if id(node) in measured:
            known = measured[id(node)]
            if known is None:
                raise _mistake("it holds an alias of itself", node)
            return known
        measured[id(node)] = None
        size, depth = 1, 0
        for part in _parts(node):
            part_size, part_depth = measure(part, above + 1) if above <= _MAX_DEPTH else (1, _MAX_DEPTH)
            size, depth = size + part_size, max(depth, part_depth + 1)
            if size > _MAX_NODES or depth > _MAX_DEPTH:
                raise _mistake(
                    f"with its aliases it is deeper than {_MAX_DEPTH} or holds over {_MAX_NODES:,} values", node
                )
        measured[id(node)] = size, depth
        return size, depth

    measure(root, 0)


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _scalars_and_mappings(root: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    """Every scalar and mapping once, with the key that it stands under."""
    seen: set[int] = set()
    waiting: list[tuple[yaml.Node, str]] = [(root, "")]
    while waiting:
        node, key = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(item, key) for item in node.value]
            continue
        yield node, key
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                waiting += [(name, ""), (value, name.value if isinstance(name, yaml.ScalarNode) else "")]


def _require_distinct_keys(mapping: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
            name = (key.tag, key.value)
            if name in lines:
                raise _mistake(f"the key {_shortened(key.value)} stands already in line {lines[name]}", key)
            lines[name] = key.start_mark.line + 1


def _require_text(scalar: yaml.Node, key: str) -> None:
    for sign in scalar.value:
        code = ord(sign)
        is_control = (code < 32 and sign not in "\t\n\r") or 127 <= code < 160
        if code == 0 or 0xD800 <= code < 0xE000 or (is_control and key != _FREE_TO_HOLD_CONTROL_CHARACTERS):
            raise _mistake(f"the text holds the character U+{code:04X}, which no text of a recipe can", scalar)


def _require_short(scalar: yaml.ScalarNode) -> None:
    if len(scalar.value) >= _SHORTEST_TOO_LONG:
        raise _mistake(f"{_shortened(scalar.value)} has {len(scalar.value):,} characters: no number is so long", scalar)


def describe_yaml_error(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """The line that an error of PyYAML is at, from 1, and what is wrong there."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, f"the character U+{int(error.character):04X} is not allowed"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        mark = error.problem_mark or error.context_mark
        context = f" {error.context}" if error.context else ""
        return mark.line + 1 if mark else None, f"{error.problem}{context}"
    return None, str(error)


def _mistake(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
