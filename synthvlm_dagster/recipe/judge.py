"""What every held-out judge has in the recipe: a section; and what its values are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from synthvlm_dagster.recipe.section import Section


@dataclass(frozen=True, kw_only=True)
class JudgeSetting:
    """How the recipe sets one judge, below `scoring.judges` and the judge's name, and what it gives.

    Attributes:
        name: below `scoring.judges`, and in the path of its values.
        section: its settings.
        label: what people call them.
        measures: what a value says, and on which scale.
        place: columns stand in ascending order of their places.
        lowest: no value is below it.
        highest: no value is above it.
        higher_is_better: whether a high value speaks for an image, as CLIPScore does.
        models: hub ids, names or folders of its models, by its settings.
        speed_settings: settings that change how fast it judges, and no value.
    """

    name: str
    section: type[Section]
    label: str
    measures: str
    place: int
    lowest: float = -math.inf
    highest: float = math.inf
    higher_is_better: bool = True
    models: Callable[[Any], list[str]] = lambda settings: [settings.model]
    speed_settings: frozenset[str] = frozenset()

    @property
    def column(self) -> str:
        """Where its values stand in the scores: Float64, null where it has not measured."""
        return f"{self.name}_score"
