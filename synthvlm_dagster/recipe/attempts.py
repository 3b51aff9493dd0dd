"""How many images each caption gets."""

from __future__ import annotations

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.section import Section


class Attempts(Section):
    """How many images each caption gets: a fixed number, or `min` to `max` until one is good enough."""

    per_caption: int | None = Field(
        None, ge=1, le=99, description="Images generated per caption, each from its own seed; 1 if nothing is said."
    )
    min: int | None = Field(
        None, ge=1, le=98, description="With `until`: images that every caption gets to begin with; 1 if null."
    )
    max: int | None = Field(None, ge=2, le=99, description="With `until`: the most images that a caption can get.")
    until: float | None = Field(
        None,
        gt=0,
        description="The bar, a weighted score CLIPScore + ssim_weight · SSIM: a caption whose best image is below it "
        "gets another image, up to `max`. Instead of per_caption.",
    )
    ssim_weight: float = Field(
        0.5,
        ge=0,
        description="With `until`: its λ. Apart from selection.ssim_weight, so that selecting by another λ "
        "asks for no image.",
    )
    budget: float | None = Field(
        None,
        gt=0,
        description="With `until`: the most images per caption on average, over each shard, best spent first; null: no "
        "limit but `max`.",
    )
    max_captions: int | None = Field(
        None, gt=0, description="Synthesize only so many of the curated captions (a stable pseudo-random choice)."
    )

    @property
    def adaptive(self) -> bool:
        """Whether scores decide how many images a caption gets."""
        return self.until is not None

    @property
    def fewest(self) -> int:
        """Images that every caption gets, before anything is scored."""
        return (self.min if self.adaptive else self.per_caption) or 1

    @property
    def most(self) -> int:
        """The most images that a caption can get."""
        return self.max or self.fewest

    @property
    def in_words(self) -> str:
        """How many images a caption gets, for people."""
        if not self.adaptive:
            return f"{self.fewest} for each caption"
        bar = f"until CLIPScore + {self.ssim_weight:g}·SSIM ≥ {self.until:g}"
        budget = f", {self.budget:g} on average" if self.budget else ""
        return f"{self.fewest} to {self.most} for each caption{budget}, {bar}"

    @model_validator(mode="after")
    def _fixed_or_adaptive(self) -> Attempts:
        if self.until is None:
            adaptive = ("min", "max", "budget", "ssim_weight")
            if alone := [name for name in adaptive if getattr(self, name) != Attempts.model_fields[name].default]:
                raise ValueError(f"{', '.join(alone)}: nothing without until; give max and until, or per_caption alone")
            return self
        if self.per_caption is not None:
            raise ValueError("give either per_caption (a fixed number) or max and until, not both")
        if self.max is None:
            raise ValueError("until needs max, the most images that a caption can get")
        if self.max <= self.fewest:
            raise ValueError(
                f"max is {self.max}, but must be more than min, {self.fewest}; a fixed number is per_caption"
            )
        if self.budget is not None and not self.fewest <= self.budget <= self.max:
            raise ValueError(f"budget is {self.budget:g} images per caption, but must lie between min and max")
        return self
