"""Which pairs are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from synthvlm_dagster.recipe.judges import JUDGE_SETTINGS
from synthvlm_dagster.recipe.section import Section

_HIGH_IS_BAD = frozenset(judge.column for judge in JUDGE_SETTINGS.values() if not judge.higher_is_better)

StrategyName = Literal["paper", "zscore", "audited", "clip-only", "ssim-only", "random"]
"""Names of the strategies of `dataset.strategies`."""


class Disagreement(Section):
    """Images on which CLIP and a held-out judge disagree most are set aside, before attempts compete.

    Each ranks all scored images; an image's disagreement is the distance between its two places, as a share of all.
    """

    judge: str = Field(description="Column of a held-out score, such as siglip_score.")
    max_difference: float | None = Field(None, gt=0, le=1, description="Larger disagreement is set aside.")
    share: float | None = Field(None, gt=0, lt=1, description="Share of the scored images set aside, in (0, 1).")

    @field_validator("judge")
    @classmethod
    def _held_out(cls, judge: str) -> str:
        if judge in ("clip_score", "ssim"):
            raise ValueError(f"{judge} is what selection optimises; name a held-out score, such as siglip_score")
        if judge in _HIGH_IS_BAD:
            raise ValueError(f"{judge} is high where an image is bad, CLIPScore where it is good; name another")
        return judge

    @model_validator(mode="after")
    def _one_threshold(self) -> Disagreement:
        if (self.max_difference is None) == (self.share is None):
            raise ValueError("give exactly one of max_difference (between ranks, in (0, 1]) and share (of the images)")
        return self


class NearDuplicates(Section):
    """Of captions' images that show the same, the best-scored is kept (SemDeDup, arXiv 2303.09540)."""

    similarity: float = Field(0.95, gt=0, le=1, description="Cosine of CLIP image embeddings that counts as the same.")
    cluster_size: int = Field(
        1000, ge=1, description="Images are compared within k-means clusters of so many on average."
    )


class Quotas(Section):
    """Bounds on how many pairs each concept gets, a concept being a k-means cluster of CLIP image embeddings.

    A concept's fair part is its share of the candidates times the number of pairs kept.
    """

    concepts: int = Field(ge=2, description="Number of concepts.")
    at_least: float = Field(
        0.5, ge=0, le=1, description="So much of its fair part is promised to each concept; above 0, one pair at least."
    )
    at_most: float = Field(2.0, ge=1, description="No concept gets more than so many times its fair part.")


class Audit(Section):
    """What the strategy `audited` sets aside; a part that is not given is not done."""

    disagreement: Disagreement | None = None
    near_duplicates: NearDuplicates | None = None
    quotas: Quotas | None = None

    @property
    def needs_embeddings(self) -> bool:
        """Whether a part compares images by their CLIP embeddings."""
        return self.near_duplicates is not None or self.quotas is not None


class Selection(Section):
    """Which pairs are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3)."""

    strategy: StrategyName = Field(
        "paper",
        description="`paper`: CLIPScore + ssim_weight · SSIM; `zscore`: the same of both terms standardised; "
        "`audited`: the paper's score, less what `audit` sets aside; the others are the paper's ablations.",
    )
    ssim_weight: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="λ of the weighted score; 0.5 gives the paper's 0.79."
    )
    count: int | None = Field(None, gt=0, description="Pairs kept. Give either count or share.")
    share: float | None = Field(None, gt=0, le=1, description="Share of the scored captions kept, in (0, 1].")
    audit: Audit = Field(default_factory=Audit, description="Used by the strategy `audited` alone.")
    allow_missing: float = Field(
        0.0, ge=0, lt=1, description="Share of the planned images that may be without a score when pairs are selected."
    )

    @model_validator(mode="after")
    def _one_size(self) -> Selection:
        if (self.count is None) == (self.share is None):
            raise ValueError("give exactly one of count (a number of pairs) and share (a part of the scored captions)")
        return self

    @model_validator(mode="after")
    def _something_to_audit(self) -> Selection:
        if self.strategy == "audited" and self.audit == Audit():
            raise ValueError("the strategy audited needs audit with disagreement, near_duplicates or quotas")
        return self
