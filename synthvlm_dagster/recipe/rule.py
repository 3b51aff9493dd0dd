"""What every rule that judges captions has in the recipe: a section, its default, and a place in the order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.section import Section

Need = Literal["model", "original image", "money"]

CAPTION_PLACE = "{caption}"


@dataclass(frozen=True)
class RuleSetting:
    """How the recipe sets one rule.

    Attributes:
        name: its key below `curation.rules`, and the name of its file.
        section: its settings.
        description: what it keeps, for a person who writes a recipe.
        place: rules are asked in ascending order of their places, cheap ones first, unless the recipe says otherwise.
        default: its settings where the recipe says nothing of it; None: it is off.
        needs: what it cannot judge without.
        ranks_by: another rule whose statistic it judges by, and which therefore must be on and asked before it.
    """

    name: str
    section: type[Section]
    description: str
    place: int
    default: Section | None = None
    needs: frozenset[Need] = frozenset()
    ranks_by: str | None = None


class Bounds(Section):
    """A closed interval in which a measured statistic must lie for the caption to be kept."""

    min: float | None = Field(None, description="Smallest value kept.", allow_inf_nan=False)
    max: float | None = Field(None, description="Largest value kept.", allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no caption could be kept")
        return self


class CountBounds(Bounds):
    """Bounds of a count, in [0, ∞)."""

    min: float | None = Field(None, description="Smallest value kept.", ge=0, allow_inf_nan=False)
    max: float | None = Field(None, description="Largest value kept.", ge=0, allow_inf_nan=False)


class RatioBounds(Bounds):
    """Bounds of a share or probability, in [0, 1]."""

    min: float | None = Field(None, description="Smallest value kept, in [0, 1].", ge=0, le=1)
    max: float | None = Field(None, description="Largest value kept, in [0, 1].", ge=0, le=1)


class MayBeUnmeasured(Section):
    """A rule whose statistic some captions cannot have, for want of an image for example."""

    if_not_measured: Literal["keep", "reject"] = Field(
        "keep",
        description="What becomes of a caption whose statistic cannot be measured; kept ones are listed in the column "
        "`not_measured`, and counted.",
    )


class CarriedScore(RatioBounds, MayBeUnmeasured):
    """Bounds of a score that the source's rows carry."""


def with_caption_place(text: str) -> str:
    """The text, if it has a place for the caption.

    Raises:
        ValueError: it has none.
    """
    if CAPTION_PLACE not in text:
        raise ValueError(f"must contain {CAPTION_PLACE}, the place where the caption goes")
    return text
