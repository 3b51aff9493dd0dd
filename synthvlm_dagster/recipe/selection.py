"""Which pairs are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.section import Section


class Selection(Section):
    """Which pairs are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3)."""

    strategy: Literal["paper", "zscore", "clip-only", "ssim-only", "random"] = Field(
        "paper", description="`paper`: CLIPScore + ssim_weight · SSIM; the others are the paper's ablations."
    )
    ssim_weight: float = Field(0.5, ge=0, description="λ of the weighted score; 0.5 gives the paper's 0.79.")
    count: int | None = Field(None, gt=0, description="Pairs kept. Give either count or share.")
    share: float | None = Field(None, gt=0, le=1, description="Share of the scored captions kept, in (0, 1].")

    @model_validator(mode="after")
    def _one_size(self) -> Selection:
        if (self.count is None) == (self.share is None):
            raise ValueError("give exactly one of count (a number of pairs) and share (a part of the scored captions)")
        return self
