"""Where a recipe's paths point: beside the recipe, in an installed package, on a hub, or at a URL."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from synthvlm_dagster.errors import RecipeError

PACKAGE_SCHEME = "package://"


def resolve_location(location: str, folder: Path, *, always: bool = False) -> str:
    """Turn a location written in a recipe into an absolute path or URL.

    Args:
        location: `package://module.name/path`, a URL with a scheme, an absolute path, or a relative one. Of an fsspec
            URL such as `zip://*.json::captions.zip` the last part is resolved.
        folder: what relative paths start from: the recipe's folder.
        always: resolve every relative name. When False, only names that exist below `folder` or start with a dot are
            paths; others (hub ids such as `org/model`, architecture names) come back unchanged.

    Raises:
        RecipeError: the package of a `package://` location is not installed.
    """
    if "::" in location:
        inside, _, archive = location.rpartition("::")
        return f"{inside}::{resolve_location(archive, folder, always=True)}"
    if location.startswith(PACKAGE_SCHEME):
        module, _, path = location.removeprefix(PACKAGE_SCHEME).partition("/")
        try:
            return str(importlib.resources.files(module).joinpath(path))
        except ModuleNotFoundError as error:
            raise RecipeError(f"{location}: the Python package {module} is not installed") from error
    if "://" in location or ":" in location.split("/")[0]:
        return location
    path_below = folder / Path(location).expanduser()
    if always or location.startswith((".", "~", "/")) or path_below.exists():
        return str(path_below.resolve()) if not any(sign in location for sign in "*?[") else str(path_below)
    return location
