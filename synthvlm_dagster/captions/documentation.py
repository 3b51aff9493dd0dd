"""README's tables of the caption formats and rules, as the parts themselves describe them."""

from __future__ import annotations

from synthvlm_dagster.captions.formats import FORMATS
from synthvlm_dagster.captions.rules import RULES
from synthvlm_dagster.recipe.rules import RULE_SETTINGS

_DIGITS = 10
"""Of thresholds: all that the paper's have."""


def formats_table() -> str:
    """Markdown table of the formats, in alphabetical order."""
    return _table(("`format`", "layout"), [(f"`{name}`", FORMATS[name].layout) for name in sorted(FORMATS)])


def rules_table() -> str:
    """Markdown table of the rules, in the order in which they are asked."""
    return _table(
        ("rule", "keeps, by default", "measures"), [(f"`{name}`", _kept(name), rule.label) for name, rule in RULES.items()]
    )


def _kept(name: str) -> str:
    default, paper = RULE_SETTINGS[name].default, RULES[name].paper
    if default is None:
        return f"off; the paper: {paper}" if paper else "off"
    return RULES[name].kept_text(default, _DIGITS)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("| --- ", "|---").replace("---|---", "---|---") for cells in lines)
