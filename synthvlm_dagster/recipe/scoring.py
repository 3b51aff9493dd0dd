"""How images are measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from synthvlm_dagster.recipe.section import ModelName, Section


class ClipScoring(Section):
    """The CLIP model that measures how well an image shows its caption."""

    model: ModelName = Field(
        "ViT-B-32", description="open_clip architecture name, hub model (hf-hub:…), folder, or package://module/path."
    )
    pretrained: str | None = Field("openai", description="open_clip weights tag; null for hub models and folders.")
    prompt_prefix: str = Field("A photo depicts ", description="Text put before each caption (CLIPScore, 2104.08718).")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="Precision of the CLIP model.")


class SsimScoring(Section):
    """Structural similarity of an image with itself after a round trip through a smaller size (SynthVLM, eq. 3)."""

    reduced_size: int = Field(336, ge=7, description="Side in pixels of the small square (336: LLaVA's vision tower).")
    channels: Literal["gray", "rgb"] = Field("gray", description="Compare luma, or the mean over R, G and B.")


class Scoring(Section):
    """How each generated image is measured (SynthVLM §3.3)."""

    clip: ClipScoring = Field(default_factory=ClipScoring)
    ssim: SsimScoring = Field(default_factory=SsimScoring)
    batch_size: int = Field(64, ge=1, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")
