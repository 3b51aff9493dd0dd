"""The held-out judges as a recipe sets them, one in each file; what they do: `scores.judges`."""

from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.recipe.judge import JudgeSetting

__all__ = ["JUDGE_SETTINGS"]

JUDGE_SETTINGS: dict[str, JudgeSetting] = find_parts(__name__, "JUDGE")
"""By name, in the order of their columns."""
