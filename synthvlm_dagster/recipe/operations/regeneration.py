"""Another try, at night, for captions whose images are not good enough."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.operations.clock import Clock


class Regeneration(Clock):
    """When `regenerate_weak_pairs` starts, if its schedule is switched on, and what a night may spend."""

    cron: str = Field("0 1 * * *", description=Clock.model_fields["cron"].description)
    bar: float | None = Field(
        None,
        gt=0,
        description="Captions whose best image has a weighted score, CLIPScore + ssim_weight · SSIM, below this get "
        "another image; with the ssim_weight of attempts where they have `until`, else of selection. Null: "
        "attempts.until; a recipe without either has no such schedule.",
    )
    max_attempts: int = Field(
        8, ge=2, le=99, description="The most images that a caption can get, those of `attempts` counted."
    )
    max_images: int = Field(1000, ge=1, description="The most images that one night makes.")
    max_gpu_hours: float = Field(
        8.0,
        gt=0,
        description="The most hours that one night draws and measures, as earlier shards took for their images.",
    )
