"""The strategies of selection as parts: known to the recipe and the README, and to those that ask what they are."""

from pathlib import Path
from typing import get_args

import pytest

from synthvlm_dagster.dataset.strategies import STRATEGIES, describe_merit
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.recipe.selection import StrategyName

AUDIT = {"quotas": {"concepts": 2}}


def selection(name: str) -> Selection:
    return Selection(strategy=name, count=1, ssim_weight=0.25, audit=AUDIT)


def test_recipe_and_readme_name_every_strategy() -> None:
    assert set(STRATEGIES) == set(get_args(StrategyName))
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in STRATEGIES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_words_show_the_weight_of_ssim_where_it_counts(name: str) -> None:
    assert ("0.25" in describe_merit(selection(name))) is STRATEGIES[name].weighs_ssim
