"""What a person can set for one run in Dagster's launchpad, which shows the recipe's values to begin with.

What is left out, or left as it was shown, is as the recipe says. Other settings belong to the table that the run makes
(see `one_run`): it says so in its metadata, and what describes the table later – checks, card, report – tells what it
was made with. The next `synthvlm run`, and every other run without them, makes the table as the recipe says.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import dagster as dg
from pydantic import BaseModel, Field

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.orchestration.one_run import changes, note, with_settings
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
    """Settings of one section of the recipe; their defaults are those of the recipe that the code location loaded."""

    section: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """What was set other than the default, as the recipe's section would say it."""
        raise NotImplementedError

    def check(self, recipe: Recipe) -> None:
        """Refuse what only the recipe's file can say.

        Raises:
            RecipeError: names the field.
        """

    def apply(self, recipe: Recipe, log: dg.DagsterLogManager) -> ThisRun:
        """The recipe of this run; a run with settings of its own says so in its log.

        Raises:
            RecipeError: a setting is impossible, or does not go with the recipe; names the field.
        """
        self.check(recipe)
        changed = with_settings(recipe, self.section, self.settings())
        differing = changes(recipe, changed)
        if not differing:
            return ThisRun(recipe, {}, {})
        log.warning(
            f"set for this run alone: {', '.join(map(str, differing))}. The next run without these settings makes the "
            "table as the recipe says; to keep them, write them into the recipe"
        )
        table = dg.MetadataValue.table([dg.TableRecord(change.row) for change in differing])
        return ThisRun(changed, note(recipe, changed, self.section), {"set_for_this_run": table})


def _as_recipe(section: BaseModel, name: str) -> Any:
    """A field with the recipe's own value and description."""
    return Field(default=getattr(section, name), description=type(section).model_fields[name].description)


class BoundsOfOneRun(dg.Config):
    """Bounds of a rule."""

    min: float | None = Field(default=None, description="Smallest value kept; null: no bound.")
    max: float | None = Field(default=None, description="Largest value kept; null: no bound.")


def _rule(name: str) -> Any:
    rule = getattr(active_recipe().curation.rules, name)
    bounds = BoundsOfOneRun(**{side: getattr(rule, side, None) for side in ("min", "max")})
    off = "" if rule else " Off in the recipe."
    return Field(default=bounds, description=f"{CurationRules.model_fields[name].description}{off}")


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
        default=getattr(active_recipe().curation.rules.keep_top, "share", None),
        description="Share kept of the captions that fit their original image best, in (0, 1].",
    )
    rules_off: list[str] = Field(
        default=[], description=f"Rules not asked in this run, of: {', '.join(CurationRules.model_fields)}."
    )

    def settings(self) -> dict[str, Any]:
        """The rules' bounds, and null for those that are off."""
        given: dict[str, Any] = {
            name: value.model_dump()
            for name, field in type(self).model_fields.items()
            if isinstance(value := getattr(self, name), BoundsOfOneRun) and value != field.default
        }
        if self.keep_top != type(self).model_fields["keep_top"].default:
            given["keep_top"] = {"share": self.keep_top}
        return {"rules": given | dict.fromkeys(self.rules_off)}

    def check(self, recipe: Recipe) -> None:
        """Refuse rules that do not exist, and to switch on one that needs a model: the recipe names models.

        Raises:
            RecipeError: names the field.
        """
        for name in self.settings()["rules"]:
            if name not in CurationRules.model_fields:
                raise RecipeError(
                    f"rules_off: there is no rule {name}; there are {', '.join(CurationRules.model_fields)}"
                )
            if name in _MODEL_RULES and getattr(recipe.curation.rules, name) is None:
                raise RecipeError(f"curation.rules.{name}: is off in the recipe; switch it on there, with its model")


class AttemptsOfOneRun(_OneRun):
    """How many images each caption gets."""

    section = "attempts"

    per_caption: int | None = _as_recipe(active_recipe().attempts, "per_caption")
    max_captions: int | None = _as_recipe(active_recipe().attempts, "max_captions")
    until: float | None = _as_recipe(active_recipe().attempts, "until")
    min: int | None = _as_recipe(active_recipe().attempts, "min")
    max: int | None = _as_recipe(active_recipe().attempts, "max")
    budget: float | None = _as_recipe(active_recipe().attempts, "budget")

    def settings(self) -> dict[str, Any]:
        """The attempts."""
        return self.model_dump(exclude_defaults=True)

    def check(self, recipe: Recipe) -> None:
        """Refuse that scores decide where they do not in the recipe, and the other way: the graph has an asset for it.

        Raises:
            RecipeError: names the field.
        """
        given = self.settings()
        if "until" in given and (given["until"] is None) == recipe.attempts.adaptive:
            raise RecipeError(
                "attempts.until: whether scores decide how many images a caption gets is up to the recipe; "
                f"{'remove until and max there' if recipe.attempts.adaptive else 'write until and max into it'}"
            )


class SelectionOfOneRun(_OneRun):
    """Which pairs are kept."""

    section = "selection"

    strategy: Literal["paper", "zscore", "audited", "clip-only", "ssim-only", "random"] = _as_recipe(
        active_recipe().selection, "strategy"
    )
    ssim_weight: float = _as_recipe(active_recipe().selection, "ssim_weight")
    count: int | None = _as_recipe(active_recipe().selection, "count")
    share: float | None = _as_recipe(active_recipe().selection, "share")
    allow_missing: float = _as_recipe(active_recipe().selection, "allow_missing")

    def settings(self) -> dict[str, Any]:
        """The selection; a count takes the place of the recipe's share, and a share that of its count."""
        given = self.model_dump(exclude_defaults=True)
        sizes = {name: value for name, value in given.items() if name in ("count", "share") and value is not None}
        return given | (dict.fromkeys(("count", "share")) | sizes if sizes else {})
