"""How images are made of captions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from synthvlm_dagster.recipe.section import ModelName, Section


class Attempts(Section):
    """How many images each caption gets to begin with."""

    per_caption: int = Field(1, ge=1, le=99, description="Images generated per caption, each from its own seed.")
    max_captions: int | None = Field(
        None, gt=0, description="Synthesize only so many of the curated captions (a stable pseudo-random choice)."
    )


class Scheduler(Section):
    """A diffusers scheduler put in the place of the model's own."""

    name: str = Field(description="Class name in diffusers, e.g. DPMSolverMultistepScheduler.")
    config: dict[str, Any] = Field(default_factory=dict, description="Settings changed from the model's scheduler.")


class Refiner(Section):
    """A second SDXL model that takes over the end of the denoising."""

    model: ModelName = Field(description="Hub id or folder of a StableDiffusionXLImg2ImgPipeline.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    variant: str | None = Field(None, description="Weight file variant, e.g. fp16.")
    handover: float = Field(
        0.8, gt=0, lt=1, description="Share of the steps done by the base model (`denoising_end`/`denoising_start`)."
    )


class Generation(Section):
    """The diffusion model and its parameters, under diffusers' names (SynthVLM §3.2)."""

    model: ModelName = Field(
        description="Hub id, folder, or `package://module/path` of a diffusers text-to-image pipeline."
    )
    revision: str | None = Field(
        None, description="Hub revision (commit hash or tag); pin it to make images repeatable."
    )
    variant: str | None = Field(None, description="Weight file variant, e.g. fp16.")
    refiner: Refiner | None = Field(None, description="SDXL refiner; null: the base model does every step.")
    scheduler: Scheduler | None = Field(None, description="null: the scheduler the model comes with.")
    num_inference_steps: int = Field(50, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float = Field(5.0, ge=0, le=100, description="Classifier-free guidance scale; ≤ 1 switches it off.")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="Rescaling of the guided noise (arXiv 2305.08891).")
    negative_prompt: str | None = Field(None, description="What the image should not show; null: the empty prompt.")
    width: int = Field(1024, ge=8, multiple_of=8, description="Image width in pixels.")
    height: int = Field(1024, ge=8, multiple_of=8, description="Image height in pixels.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float16", description="Precision of weights and maths.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")
    batch_size: int = Field(8, ge=1, le=1024, description="Images denoised together.")
    images_per_chunk: int = Field(
        256, ge=1, description="Images written to the store at a time: what a kill can cost at most."
    )
    image_format: Literal["png", "jpeg", "webp"] = Field("jpeg", description="How images are stored.")
    image_quality: int = Field(95, ge=1, le=100, description="jpeg and webp quality.")
    licence: str | None = Field(None, description="Licence of the model, stated in what is published.")
