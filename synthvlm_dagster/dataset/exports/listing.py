"""Every export that there is: whichever module of this folder has an `EXPORT`."""

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
    modules = [import_module(f"{folder.__name__}.{found.name}") for found in pkgutil.iter_modules(folder.__path__)]
    found = [module.EXPORT for module in modules if hasattr(module, "EXPORT")]
    order = list(Exports.model_fields)
    return tuple(sorted(found, key=lambda export: order.index(export.name)))
