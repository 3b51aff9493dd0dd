"""What a person can set for one run in Dagster's launchpad; what is left out is as the recipe says.

Such settings belong to the table that the run makes (see `one_run`): it says so in its metadata, and what describes the
table later – checks, card, report – tells what it was made with. The next `synthvlm run`, and every other run without
them, makes the table as the recipe says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import dagster as dg
from pydantic import BaseModel, Field

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.one_run import changes, note, with_settings
from synthvlm_dagster.recipe import CurationRules, Recipe, active_recipe

_MODEL_RULES = ("image_text_similarity", "perplexity", "image_text_matching", "keep_top")


class ThisRun(NamedTuple):
    """What one run works with."""

    recipe: Recipe
    """The recipe with the run's own settings."""
    notes: dict[str, str]
    """For the file of the table that is made; see `Storage.write_table`."""
    metadata: dict[str, Any]
    """Says in Dagster what was set; empty where nothing was."""


class _OneRun(dg.Config):
    """Settings of one section of the recipe."""

    section: ClassVar[str]

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """What was set, as the recipe's section would say it."""
        raise NotImplementedError

    def apply(self, recipe: Recipe, log: dg.DagsterLogManager) -> ThisRun:
        """The recipe of this run; a run with settings of its own says so in its log.

        Raises:
            RecipeError: a setting is impossible, or does not go with the recipe; names the field.
        """
        changed = with_settings(recipe, self.section, self.settings(recipe))
        differing = changes(recipe, changed)
        if not differing:
            return ThisRun(recipe, {}, {})
        log.warning(
            f"set for this run alone: {', '.join(map(str, differing))}. The next run without these settings makes the "
            "table as the recipe says; to keep them, write them into the recipe"
        )
        table = dg.MetadataValue.table([dg.TableRecord(change.row) for change in differing])
        return ThisRun(changed, note(recipe, changed, self.section), {"set_for_this_run": table})


def _as_recipe(section: BaseModel, name: str, nothing: Any = None) -> Any:
    """A field with the recipe's own description of it, whose default leaves what the recipe says."""
    described = type(section).model_fields[name].description
    value = getattr(section, name)
    return Field(nothing, description=f"{described} Left out: as in the recipe, {_in_words(value)}.")


def _in_words(value: Any) -> str:
    if value is None:
        return "which sets none"
    return f"{value:g}" if isinstance(value, float) else str(value)


class BoundsOfOneRun(dg.Config):
    """Bounds of a rule; what is left out is as in the recipe."""

    min: float | None = Field(default=None, description="Smallest value kept.")
    max: float | None = Field(default=None, description="Largest value kept.")


def _rule(name: str) -> Any:
    rule = getattr(active_recipe().curation.rules, name)
    bounds = {side: getattr(rule, side, None) for side in ("min", "max")}
    kept = ", ".join(f"{side} {bound:g}" for side, bound in bounds.items() if bound is not None)
    described = CurationRules.model_fields[name].description
    return Field(BoundsOfOneRun(), description=f"{described} The recipe: {kept or ('no bound' if rule else 'off')}.")


class CurationOfOneRun(_OneRun):
    """Thresholds of the rules that captions must keep."""

    section = "curation"

    text_length: BoundsOfOneRun = _rule("text_length")
    num_words: BoundsOfOneRun = _rule("num_words")
    alnum_ratio: BoundsOfOneRun = _rule("alnum_ratio")
    special_char_ratio: BoundsOfOneRun = _rule("special_char_ratio")
    flagged_words_ratio: BoundsOfOneRun = _rule("flagged_words_ratio")
    word_rep_ratio: BoundsOfOneRun = _rule("word_rep_ratio")
    char_rep_ratio: BoundsOfOneRun = _rule("char_rep_ratio")
    watermark_score: BoundsOfOneRun = _rule("watermark_score")
    nsfw_score: BoundsOfOneRun = _rule("nsfw_score")
    image_text_similarity: BoundsOfOneRun = _rule("image_text_similarity")
    perplexity: BoundsOfOneRun = _rule("perplexity")
    image_text_matching: BoundsOfOneRun = _rule("image_text_matching")
    keep_top: float | None = Field(
        None, description="Share kept of the captions that fit their original image best, in (0, 1]."
    )
    rules_off: list[str] = Field([], description=f"Rules not asked: {', '.join(CurationRules.model_fields)}.")

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """The rules' bounds.

        Raises:
            RecipeError: a rule does not exist, or needs a model that the recipe does not name.
        """
        given: dict[str, Any] = {
            name: bounds
            for name in CurationRules.model_fields
            if isinstance(value := getattr(self, name, None), BoundsOfOneRun)
            and (bounds := value.model_dump(exclude_none=True))
        }
        if self.keep_top is not None:
            given["keep_top"] = {"share": self.keep_top}
        for name in given:
            if name in _MODEL_RULES and getattr(recipe.curation.rules, name) is None:
                raise RecipeError(f"curation.rules.{name}: is off in the recipe; switch it on there, with its model")
        unknown = [name for name in self.rules_off if name not in CurationRules.model_fields]
        if unknown:
            raise RecipeError(f"rules_off: there is no rule {', '.join(unknown)}")
        return {"rules": given | dict.fromkeys(self.rules_off)}


class AttemptsOfOneRun(_OneRun):
    """How many images each caption gets."""

    section = "attempts"

    per_caption: int | None = _as_recipe(active_recipe().attempts, "per_caption")
    max_captions: int | None = _as_recipe(active_recipe().attempts, "max_captions")
    until: float | None = _as_recipe(active_recipe().attempts, "until")
    min: int | None = _as_recipe(active_recipe().attempts, "min")
    max: int | None = _as_recipe(active_recipe().attempts, "max")
    budget: float | None = _as_recipe(active_recipe().attempts, "budget")

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """The attempts.

        Raises:
            RecipeError: `until` is set, and the recipe has none: the graph has no asset that would look at scores.
        """
        if self.until is not None and not recipe.attempts.adaptive:
            raise RecipeError(
                "attempts.until: the recipe gives each caption a fixed number of images; write until and max into it, "
                "and scores will decide"
            )
        return self.model_dump(exclude_none=True)


class SelectionOfOneRun(_OneRun):
    """Which pairs are kept."""

    section = "selection"

    strategy: Literal["recipe", "paper", "zscore", "audited", "clip-only", "ssim-only", "random"] = _as_recipe(
        active_recipe().selection, "strategy", "recipe"
    )
    ssim_weight: float | None = _as_recipe(active_recipe().selection, "ssim_weight")
    count: int | None = _as_recipe(active_recipe().selection, "count")
    share: float | None = _as_recipe(active_recipe().selection, "share")
    allow_missing: float | None = _as_recipe(active_recipe().selection, "allow_missing")

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """The selection; a count takes the place of the recipe's share, and a share that of its count."""
        given: Mapping[str, Any] = self.model_dump(exclude_none=True)
        size = dict.fromkeys(("count", "share")) if {"count", "share"} & given.keys() else {}
        strategy = {"strategy": recipe.selection.strategy} if self.strategy == "recipe" else {}
        return {**size, **given, **strategy}
