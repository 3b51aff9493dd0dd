"""When captions are the same."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from synthvlm_dagster.recipe.rule import RuleSetting
from synthvlm_dagster.recipe.section import Section


class Duplicates(Section):
    """When captions are the same; of those the first is kept."""

    method: Literal["exact", "near"] = Field(
        "exact",
        description="`exact`: equal after Unicode, case, punctuation and space folding; `near`: also those that share "
        "most of their pairs of neighbouring words, articles not counted (MinHash, then compared in full).",
    )
    similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        description="near: Jaccard similarity of the two captions' word pairs from which they are the same. At 0.8 one "
        "replaced word makes a near duplicate of a caption of 17 words or more, at 0.7 of 11; captions whose numbers, "
        "colours or sides differ are never the same.",
    )


RULE = RuleSetting(
    name="duplicates", section=Duplicates, description="When captions are the same.", place=120, default=Duplicates()
)
