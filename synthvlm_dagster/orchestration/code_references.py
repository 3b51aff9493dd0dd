"""Links in the Dagster UI from an asset to the lines that define it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"


def linked_to_code(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, each with the file and line of its function where the package runs from a checkout.

    Installed from a wheel there is nothing to open: files in site-packages are not edited. What a user edits then is
    the `defs.yaml` of a component, and that link Dagster puts on its assets by itself.
    """
    assets = list(assets)
    if not _CHECKOUT.is_file():
        return assets
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(code_references|CodeReference)", category=dg.BetaWarning)
        linked = dg.with_source_code_references(assets)
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]
