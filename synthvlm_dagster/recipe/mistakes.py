"""What is wrong with a recipe, said with its file, line and field, and the nearest known key."""

from __future__ import annotations

import difflib
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

_MOST_TOLD = 20


def explain_mistakes(error: ValidationError, model: type[BaseModel], file: Path, node: yaml.Node | None) -> str:
    """One line for each mistake, of the first twenty.

    Args:
        error: what pydantic found.
        model: what the file should have been.
        file: where the YAML stands.
        node: the composed YAML, which knows the lines.
    """
    lines = []
    problems = error.errors()
    for problem in problems[:_MOST_TOLD]:
        location = problem["loc"]
        has_wrong_items = any(location == other["loc"][: len(location)] != other["loc"] for other in problems)
        # Pydantic leaves the wrong items of a list out when it counts them.
        if problem["type"] == "too_short" and has_wrong_items:
            continue
        field = ".".join(str(part) for part in location) or "the recipe"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _known_keys(model, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            guess = f"did you mean {near[0]}? " if near else ""
            message = f"unknown key; {guess}Known are {', '.join(known)}"
        elif problem["type"] == "missing":
            message = "is required but missing"
        elif problem["type"] == "model_type":
            message = f"must be a mapping with keys such as {', '.join(_known_keys(model, location))}"
        elif problem["type"] == "tuple_type":
            message = "must be a list"
        lines.append(f"{place_of(file, node, location)}: {field}: {message}")
    more = len(problems) - _MOST_TOLD
    return "\n".join(lines + ([f"{file}: and {more:,} more mistakes"] if more > 0 else []))


def place_of(file: Path, node: yaml.Node | None, location: tuple[int | str, ...]) -> str:
    """The file and, where it is known, the line of a field of the recipe."""
    line = _line_of(node, location)
    return f"{file}, line {line}" if line else str(file)


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        nested = _section_in(field.annotation) if field else None
        if nested is None:
            break
        model = nested
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        if found := _section_in(inner):
            return found
    return None


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                return line
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
