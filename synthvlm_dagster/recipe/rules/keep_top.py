"""How many of the captions that fit their original image are kept."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.rule import MayBeUnmeasured, RuleSetting


class KeepTop(MayBeUnmeasured):
    """Only the captions that fit their original image best, by image_text_similarity (SynthVLM §3.1)."""

    share: float = Field(0.4, gt=0, le=1, description="Share kept of the captions that have a similarity, in (0, 1].")


RULE = RuleSetting(
    name="keep_top",
    section=KeepTop,
    description="The best share by image_text_similarity; the paper keeps 40 %.",
    place=160,
    needs=frozenset({"model", "original image"}),
    ranks_by="image_text_similarity",
)
