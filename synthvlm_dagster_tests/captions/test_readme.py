"""README's tables of caption formats and rules say what the formats and rules say of themselves."""

from pathlib import Path

import pytest

from synthvlm_dagster.captions.formats import FORMATS
from synthvlm_dagster.captions.rules import RULES
from synthvlm_dagster.recipe.rules import RULE_SETTINGS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def rows_below(head: str) -> list[str]:
    lines = README[README.index(head) :].splitlines()[2:]
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]


def kept_by_default(name: str) -> str:
    default, paper = RULE_SETTINGS[name].default, RULES[name].paper
    if default is None:
        return f"off; the paper: {paper}" if paper else "off"
    return RULES[name].kept_text(default)


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("| `format` | layout |", [f"| `{name}` | {FORMATS[name].layout} |" for name in sorted(FORMATS)]),
        (
            "| rule | keeps, by default | measures |",
            [f"| `{name}` | {kept_by_default(name)} | {rule.label} |" for name, rule in RULES.items()],
        ),
    ],
    ids=["formats", "rules"],
)
def test_readme_has_a_line_for_each(head, rows):
    assert rows_below(head) == rows
