"""What the recipe would make the plan from, today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.recipe.plain import plain_settings
from synthvlm_dagster.store.made_from import MadeFrom

if TYPE_CHECKING:
    import polars as pl

PLAN_CODE = 2


def plan_made_from(recipe: Recipe, curated_version: str, one_run: dict[str, Any] | None = None) -> MadeFrom:
    """What the planned attempts are made from.

    Args:
        recipe: says how many images which captions get.
        curated_version: of the curated captions.
        one_run: settings that the recipe has for one run alone.
    """
    return MadeFrom(
        code=PLAN_CODE,
        settings=plan_settings(recipe),
        inputs={"curated_captions": curated_version},
        one_run=one_run or {},
    )


def plan_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the plan."""
    # Without a limit nothing is drawn.
    drawn = {"seed": recipe.seed} if recipe.attempts.max_captions else {}
    return {"attempts": _in_effect(recipe.attempts), **drawn}


def images_of_shard_version(generator: str, image_ids: pl.Series) -> str:
    """Version of a shard's images by the generator of a name, of which `image_ids` are planned and there."""
    return fingerprint(generator, image_ids.sort().to_list())


def _in_effect(attempts: Attempts) -> dict[str, Any]:
    """The settings with the numbers that hold where none is given."""
    settings = plain_settings(attempts)
    if attempts.adaptive:
        return settings | {"min": attempts.fewest}
    return {"per_caption": attempts.fewest, "max_captions": attempts.max_captions}
