"""Where a recipe's paths point: beside the recipe, in an installed package, on a hub, or at a URL."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from synthvlm_dagster.errors import RecipeError

PACKAGE_SCHEME = "package://"

_SHOWN = 100


def resolve_location(location: str, folder: Path, *, always: bool = False) -> str:
    """Turn a location written in a recipe into an absolute path or URL.

    Args:
        location: `package://module.name/path`, a URL with a scheme, an absolute path, or a relative one. Of an fsspec
            URL such as `zip://*.json::captions.zip` the last part is resolved.
        folder: what relative paths start from: the recipe's folder.
        always: resolve every relative name. When False, only names that exist below `folder` or start with a dot are
            paths; others (hub ids such as `org/model`, architecture names) come back unchanged.

    Raises:
        RecipeError: the package of a `package://` location is not installed, or the path cannot be one.
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
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{location}: {module or 'nothing'} is no Python package") from error
    if "://" in location or ":" in location.split("/")[0]:
        return location
    try:
        path_below = folder / Path(location).expanduser()
        if always or location.startswith((".", "~", "/")) or path_below.exists():
            return str(path_below.resolve()) if not any(sign in location for sign in "*?[") else str(path_below)
    except (OSError, RuntimeError, ValueError) as error:
        # Too long a name, a loop of links, the home of a user that there is not, a NUL.
        raise RecipeError(f"{location[:_SHOWN]}: is no path: {error}"[: 2 * _SHOWN]) from error
    return location
