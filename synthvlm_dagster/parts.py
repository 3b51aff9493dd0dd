"""Parts that come in kinds, such as judges: each stands in a file of its own, and is found because it is there."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any


@cache
def find_parts(package: str, constant: str) -> dict[str, Any]:
    """The parts of one kind, by their `name`; in the order of their `place`, or of their files where they have none.

    Args:
        package: folder of the kind, such as `synthvlm_dagster.scores.judges`. Its module `base`, which says what a part
            can do, is none, nor are modules whose name begins with an underscore.
        constant: what each module calls its part, such as `JUDGE`.

    Raises:
        AttributeError: a file of the folder has no part.
        ValueError: two have the same name.
    """
    paths = importlib.import_module(package).__path__
    modules = [module.name for module in pkgutil.iter_modules(paths)]
    parts: dict[str, Any] = {}
    for file in (name for name in modules if name != "base" and not name.startswith("_")):
        part = getattr(importlib.import_module(f"{package}.{file}"), constant)
        if part.name in parts:
            raise ValueError(f"{package}: two parts have the name {part.name}")
        parts[part.name] = part
    return dict(sorted(parts.items(), key=lambda item: getattr(item[1], "place", 0)))
