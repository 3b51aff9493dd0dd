"""Every export that there is: the `EXPORT` of each module of this folder that is named as a field of `exports`."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

import synthvlm_dagster.dataset.exports as folder
from synthvlm_dagster.dataset.exports.export import Export
from synthvlm_dagster.recipe.exports import Exports


@cache
def all_exports() -> tuple[Export, ...]:
    """All exports, in the order of their settings in the recipe."""
    there = {found.name for found in pkgutil.iter_modules(folder.__path__)}
    # The others are their parts: they load what only a run needs.
    names = [name for name in Exports.model_fields if name in there]
    return tuple(import_module(f"{folder.__name__}.{name}").EXPORT for name in names)
