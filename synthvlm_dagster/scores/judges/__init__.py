"""Held-out judges: measures that selection does not optimise, by which it can be audited."""

from __future__ import annotations

from synthvlm_dagster.recipe import Scoring
from synthvlm_dagster.scores.judges.aesthetic import AestheticScore, check_aesthetic
from synthvlm_dagster.scores.judges.base import Judge
from synthvlm_dagster.scores.judges.safety import SafetyScore, check_safety
from synthvlm_dagster.scores.judges.siglip import SiglipScore, check_siglip
from synthvlm_dagster.scores.judges.vqa import VqaScore, check_vqa

__all__ = ["Judge", "check_judges", "recipe_judges"]


def recipe_judges(scoring: Scoring) -> dict[str, Judge]:
    """The judges that are on in a recipe, by name, in the order of `scoring.judges.configured`; loads no model."""
    judges = scoring.judges
    found: dict[str, Judge] = {}
    if judges.siglip:
        found["siglip"] = SiglipScore(judges.siglip, scoring.device)
    if judges.vqa:
        found["vqa"] = VqaScore(judges.vqa, scoring.device)
    if judges.aesthetic:
        found["aesthetic"] = AestheticScore(judges.aesthetic, scoring.device)
    if judges.safety:
        found["safety"] = SafetyScore(judges.safety, scoring.device)
    return found


def check_judges(scoring: Scoring) -> None:
    """Refuse, without network, judges whose models cannot be loaded whatever happens.

    Raises:
        ModelError: names the field, and what is wrong with the model.
    """
    judges = scoring.judges
    if judges.siglip:
        check_siglip(judges.siglip)
    if judges.vqa:
        check_vqa(judges.vqa)
    if judges.aesthetic:
        check_aesthetic(judges.aesthetic)
    if judges.safety:
        check_safety(judges.safety)
