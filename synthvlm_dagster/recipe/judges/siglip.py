"""A second image-text model: SigLIP (arXiv 2303.15343), or any other of open_clip."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.clip import ClipScoring
from synthvlm_dagster.recipe.judge import JudgeSetting
from synthvlm_dagster.recipe.section import ModelName


class SiglipJudge(ClipScoring):
    """A second image-text model, which selection does not optimise: the cosine of image and bare caption."""

    model: ModelName = Field(
        "ViT-B-16-SigLIP", description="open_clip architecture, hub model (hf-hub:…) or folder; SigLIP or any other."
    )
    pretrained: ModelName | None = Field(
        "webli", description="open_clip weights tag, or a weights file; null for hub models and folders."
    )
    prompt_prefix: str = Field("", description="Text put before each caption.")


JUDGE = JudgeSetting(
    name="siglip",
    section=SiglipJudge,
    label="SigLIP",
    measures="cosine of image and caption under another image-text model, in [-1, 1]",
    place=10,
    lowest=-1.0,
    highest=1.0,
)
