"""How probably a caption fits its original image, as BLIP sees it."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.rule import MayBeUnmeasured, RatioBounds, RuleSetting
from synthvlm_dagster.recipe.section import Dtype, ModelName


class ImageTextMatching(RatioBounds, MayBeUnmeasured):
    """Probability that the caption fits its original image, by BLIP's image-text matching head."""

    min: float | None = Field(0.8, ge=0, le=1, description="Smallest probability kept, in [0, 1].")
    model: ModelName = Field("Salesforce/blip-itm-base-coco", description="Hub id or folder of a BLIP retrieval model.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    dtype: Dtype = Field("float32", description="Precision of the model.")
    batch_size: int = Field(32, ge=1, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")


RULE = RuleSetting(
    name="image_text_matching",
    section=ImageTextMatching,
    description="BLIP's matching with the original image; the paper keeps ≥ 0.8.",
    place=140,
    needs=frozenset({"model", "original image"}),
)
