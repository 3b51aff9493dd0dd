"""LAION's aesthetic predictor."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.judge import JudgeSetting
from synthvlm_dagster.recipe.section import Dtype, Location, ModelName, Section


class AestheticJudge(Section):
    """LAION's aesthetic predictor: how much people would like the picture, on a scale that is about 1 to 10."""

    predictor: Location = Field(
        description="safetensors file of the linear head over CLIP embeddings: one layer (version 1) or several "
        "without activations between them (version 2)."
    )
    model: ModelName = Field(
        "ViT-L-14", description="open_clip model whose image embeddings the head was trained on; name, hub or folder."
    )
    pretrained: ModelName | None = Field(
        "openai", description="open_clip weights tag, or a weights file; null for hub models and folders."
    )
    dtype: Dtype = Field("float32", description="Precision of the CLIP model.")


JUDGE = JudgeSetting(
    name="aesthetic",
    section=AestheticJudge,
    label="Aesthetic score",
    measures="LAION's aesthetic predictor, about 1 to 10, unbounded",
    place=30,
)
