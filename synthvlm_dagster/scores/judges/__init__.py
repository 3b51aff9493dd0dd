"""Held-out judges, one in each file: measures that selection does not optimise, by which it can be audited."""

from __future__ import annotations

from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.recipe import Scoring
from synthvlm_dagster.scores.judge import HeldOutJudge, JudgeModel

__all__ = ["HELD_OUT_JUDGES", "check_judges", "recipe_judges"]

HELD_OUT_JUDGES: dict[str, HeldOutJudge] = find_parts(__name__, "JUDGE")
"""By the name that they have in the recipe."""


def recipe_judges(scoring: Scoring) -> dict[str, JudgeModel]:
    """The models of the judges that are on in a recipe, by the judge's name; loads none."""
    return {name: HELD_OUT_JUDGES[name].model(settings, scoring.device) for name, settings in scoring.judges.on.items()}


def check_judges(scoring: Scoring) -> None:
    """Refuse, without network, judges whose models cannot be loaded whatever happens.

    Raises:
        ModelError: names the field, and what is wrong with the model.
    """
    for name, settings in scoring.judges.on.items():
        HELD_OUT_JUDGES[name].check(settings)
