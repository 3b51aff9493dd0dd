"""The rules as a recipe sets them, one in each file, which has the rule's name; how each judges: `captions.rules`."""

from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.recipe.rule import RuleSetting

__all__ = ["RULE_SETTINGS"]

RULE_SETTINGS: dict[str, RuleSetting] = find_parts(__name__, "RULE")
"""By name, in the order in which they are asked."""
