"""How well a caption fits its original image, as CLIP sees it."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.rule import Bounds, MayBeUnmeasured, RuleSetting
from synthvlm_dagster.recipe.section import Dtype, ModelName


class ImageTextSimilarity(Bounds, MayBeUnmeasured):
    """CLIP cosine of the caption with its original image: the source's own where it carries one, else measured."""

    min: float | None = Field(0.28, ge=-1, le=1, description="Smallest cosine kept, in [-1, 1].")
    max: float | None = Field(None, ge=-1, le=1, description="Largest cosine kept, in [-1, 1].")
    model: ModelName | None = Field(
        "ViT-B-32", description="open_clip architecture, hub model (hf-hub:…) or folder; null: measure nothing."
    )
    pretrained: ModelName | None = Field(
        "openai", description="open_clip weights tag, or a weights file; null for hub models and folders."
    )
    dtype: Dtype = Field("float32", description="Precision of the model.")
    batch_size: int = Field(64, ge=1, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")


RULE = RuleSetting(
    name="image_text_similarity",
    section=ImageTextSimilarity,
    description="CLIP cosine with the original image; the paper keeps ≥ 0.28.",
    place=110,
    needs=frozenset({"model", "original image"}),
)
