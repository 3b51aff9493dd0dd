"""What of the recipe shapes the stage's tables and pages, and the versions of the code that makes them.

Apart from `made_from`, which reads the store: definitions ask for this when they load.
"""

from __future__ import annotations

from typing import Any

from synthvlm_dagster.recipe import CaptionSource, Recipe
from synthvlm_dagster.recipe.plain import HOW_IT_IS_COMPUTED, plain_settings

SELECTION_CODE = 2
CARD_CODE = 2
REPORT_CODE = 3

_ABOUT_HOW_IT_RUNS = (
    "operations",
    "storage",
    "shards_per_run",
    "compile",
    "fuse_qkv",
    "images_per_chunk",
    "content_credentials",
    *HOW_IT_IS_COMPUTED,
)
"""Settings, at any depth, of which nothing that is published tells."""
_DRAWN = ("random", "audited")
"""Strategies that the recipe's seed has a part in."""


def selection_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the selected pairs, but for generator, scorer and judges."""
    strategy = recipe.selection.strategy
    return {
        "selection": plain_settings(recipe.selection, () if strategy == "audited" else ("audit",)),
        **({"seed": recipe.seed} if strategy in _DRAWN else {}),
    }


def card_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the card, but for generator, scorer and judges."""
    return _told(recipe, ("comparisons", "report", "price_per_gpu_hour"))


def report_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the report, but for generator, scorer and judges."""
    return _told(recipe, ())


def _told(recipe: Recipe, without: tuple[str, ...]) -> dict[str, Any]:
    return {
        **plain_settings(recipe, (*_ABOUT_HOW_IT_RUNS, *without)),
        "exports": _about(recipe),
        "sources": [source_name(source) for source in recipe.sources],
    }


def _about(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe.exports, name) for name in ("licence", "creator", "url")}


def source_name(source: CaptionSource) -> str:
    """A source of captions without the folders of the machine that it lies on."""
    public = "://" in source.path and not source.path.startswith(("file://", "package://"))
    return f"{source.name}: {source.path}" if public else source.name
