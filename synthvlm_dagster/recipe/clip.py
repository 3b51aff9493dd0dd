"""The CLIP model that scores images."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.section import Dtype, ModelName, Section


class ClipScoring(Section):
    """The CLIP model that measures how well an image shows its caption."""

    model: ModelName = Field(
        "ViT-B-32", description="open_clip architecture name, hub model (hf-hub:…), folder, or package://module/path."
    )
    pretrained: ModelName | None = Field(
        "openai", description="open_clip weights tag, or a weights file; null for hub models and folders."
    )
    prompt_prefix: str = Field("A photo depicts ", description="Text put before each caption (CLIPScore, 2104.08718).")
    dtype: Dtype = Field("float32", description="Precision of the CLIP model.")
