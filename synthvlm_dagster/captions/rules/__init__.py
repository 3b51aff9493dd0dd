"""How each rule judges captions, one in each file, which has the rule's name; its settings are in `recipe.rules`."""

from __future__ import annotations

from typing import Any

from synthvlm_dagster.captions.rule import CostlyRule, DataJuicerStatistic, Rule
from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.recipe.rules import RULE_SETTINGS

__all__ = ["COSTLY_RULES", "RULES", "TEMPLATE_RULES"]

RULES: dict[str, Rule[Any]] = find_parts(__name__, "RULE")
"""By name, in the order in which they are asked."""

if without_file := RULE_SETTINGS.keys() - RULES.keys():
    raise ImportError(f"{', '.join(sorted(without_file))}: with a file in recipe/rules, but none in captions/rules")

COSTLY_RULES = tuple(name for name, rule in RULES.items() if isinstance(rule, CostlyRule))
"""Those whose statistic takes a model or an endpoint."""

TEMPLATE_RULES = tuple(
    name for name, rule in RULES.items() if isinstance(rule, DataJuicerStatistic) and rule.in_template
)
"""Those that measure the caption inside the recipe's `text_template`."""
