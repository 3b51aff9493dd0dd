"""What a person can set for one run in Dagster's launchpad, which shows the recipe's values to begin with.

What is left out, or left as it was shown, is as the recipe says. Other settings belong to the table that the run makes
(see `one_run`): it says so in its metadata, and what describes the table later – checks, card, report – tells what it
was made with. The next `synthvlm run`, and every other run without them, makes the table as the recipe says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import dagster as dg
from pydantic import BaseModel, Field, create_model

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.orchestration.one_run import changes, note, with_settings
from synthvlm_dagster.recipe import Bounds, CurationRules, Recipe
from synthvlm_dagster.recipe.rules import RULE_SETTINGS

_BOUNDED_RULES = [name for name, rule in RULE_SETTINGS.items() if issubclass(rule.section, Bounds)]


class ThisRun(NamedTuple):
    """What one run works with."""

    recipe: Recipe
    """The recipe with the run's own settings."""
    one_run: dict[str, Any]
    """For the record of the table that is made; see `MadeFrom.one_run`."""
    metadata: dict[str, Any]
    """Says in Dagster what was set; empty where nothing was."""


class OneRun(dg.Config):
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


class BoundsOfOneRun(dg.Config):
    """Bounds of a rule."""

    min: float | None = Field(default=None, description="Smallest value kept; null: no bound.")
    max: float | None = Field(default=None, description="Largest value kept; null: no bound.")


class _CurationOfOneRun(OneRun):
    """Thresholds of the rules that captions must keep."""

    section = "curation"

    rules_off: list[str] = Field(
        default=[], description=f"Rules not asked in this run, of: {', '.join(RULE_SETTINGS)}."
    )

    def settings(self) -> dict[str, Any]:
        """The rules' bounds, and null for those that are off."""
        given: dict[str, Any] = {
            name: value.model_dump()
            for name, field in type(self).model_fields.items()
            if isinstance(value := getattr(self, name), BoundsOfOneRun) and value != field.default
        }
        share = vars(self)["keep_top"]
        if share != type(self).model_fields["keep_top"].default:
            given["keep_top"] = {"share": share}
        return {"rules": given | dict.fromkeys(self.rules_off)}

    def check(self, recipe: Recipe) -> None:
        """Refuse rules that do not exist, and to switch on one that needs a model: the recipe names models.

        Raises:
            RecipeError: names the field.
        """
        for name in self.settings()["rules"]:
            if name not in RULE_SETTINGS:
                raise RecipeError(f"rules_off: there is no rule {name}; there are {', '.join(RULE_SETTINGS)}")
            if "model" in RULE_SETTINGS[name].needs and recipe.curation.rules[name] is None:
                raise RecipeError(f"curation.rules.{name}: is off in the recipe; switch it on there, with its model")


class _AttemptsOfOneRun(OneRun):
    """How many images each caption gets."""

    section = "attempts"

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


class _SelectionOfOneRun(OneRun):
    """Which pairs are kept."""

    section = "selection"

    def settings(self) -> dict[str, Any]:
        """The selection; a count takes the place of the recipe's share, and a share that of its count."""
        given = self.model_dump(exclude_defaults=True)
        sizes = {name: value for name, value in given.items() if name in ("count", "share") and value is not None}
        return given | (dict.fromkeys(("count", "share")) | sizes if sizes else {})


def curation_of_one_run(recipe: Recipe) -> type[OneRun]:
    """What can be set of the recipe's curation for one run: the bounds of every rule that has some."""
    rules = recipe.curation.rules
    share = getattr(rules.keep_top, "share", None)
    fields: dict[str, Any] = {name: (BoundsOfOneRun, _bounds(rules, name)) for name in _BOUNDED_RULES}
    fields["keep_top"] = (
        float | None,
        Field(default=share, description="Share kept of the captions that fit their original image best, in (0, 1]."),
    )
    return create_model("CurationOfOneRun", __base__=_CurationOfOneRun, **fields)


def attempts_of_one_run(recipe: Recipe) -> type[OneRun]:
    """What can be set of the recipe's attempts for one run."""
    names = ("per_caption", "max_captions", "until", "min", "max", "budget")
    return create_model("AttemptsOfOneRun", __base__=_AttemptsOfOneRun, **_as_recipe(recipe.attempts, names))


def selection_of_one_run(recipe: Recipe) -> type[OneRun]:
    """What can be set of the recipe's selection for one run."""
    names = ("strategy", "ssim_weight", "count", "share", "allow_missing")
    return create_model("SelectionOfOneRun", __base__=_SelectionOfOneRun, **_as_recipe(recipe.selection, names))


def _as_recipe(section: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    """Fields with the recipe's own types, values and descriptions."""
    fields = type(section).model_fields
    return {
        name: (fields[name].annotation, Field(default=getattr(section, name), description=fields[name].description))
        for name in names
    }


def _bounds(rules: CurationRules, name: str) -> Any:
    rule = rules[name]
    bounds = BoundsOfOneRun(**{side: getattr(rule, side, None) for side in ("min", "max")})
    off = "" if rule else " Off in the recipe."
    return Field(default=bounds, description=f"{RULE_SETTINGS[name].description}{off}")
