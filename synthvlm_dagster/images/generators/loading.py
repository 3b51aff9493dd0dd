"""Load the pipelines that a recipe names, from safetensors only and without remote code."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.errors import ModelError, RecipeError, error_reason
from synthvlm_dagster.images.generators.lora import fuse_loras
from synthvlm_dagster.images.generators.quantization import quantization_config
from synthvlm_dagster.images.model_folder import build_scheduler, check_model, check_steps, is_local
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.quiet import quiet_models
from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def load_pipelines(generation: Generation) -> list[DiffusionPipeline]:
    """The base model and, if the recipe has one, the refiner, on their device, with all that the recipe changes.

    Raises:
        ModelError: a model is missing, damaged, pickled, no text-to-image pipeline, or cannot be fetched.
        RecipeError: the device, the scheduler or the quantization does not exist here, or the model cannot hand over to
            a refiner, or has no such part as the recipe replaces.
    """
    from diffusers import AutoencoderKL, AutoPipelineForText2Image, StableDiffusionXLImg2ImgPipeline

    check_model(generation)
    device = usable_device(generation.device, "generation.device")
    dtype = _dtype(generation.dtype, device)
    parts: dict[str, Any] = {}
    with quiet_models():
        if generation.quantization:
            parts["quantization_config"] = quantization_config(generation.quantization)
        if vae := generation.vae:
            parts["vae"] = _load(AutoencoderKL, "an autoencoder", vae.model, vae.revision, None, dtype=dtype)
        base = _load(
            AutoPipelineForText2Image,
            "a text-to-image pipeline",
            generation.model,
            generation.revision,
            generation.variant,
            dtype=dtype,
            **parts,
        )
        if generation.vae and getattr(base, "vae", None) is not parts["vae"]:
            raise RecipeError(f"generation.vae: {type(base).__name__} of {generation.model} has none to replace")
        fuse_loras(base, generation.loras)
        pipelines = [base]
        if refiner := generation.refiner:
            if "denoising_end" not in inspect.signature(base.__call__).parameters:
                raise RecipeError(
                    f"generation.refiner: {generation.model} is a {type(base).__name__}; only SDXL models can hand "
                    "over to a refiner"
                )
            pipelines.append(
                _load(
                    StableDiffusionXLImg2ImgPipeline,
                    "an SDXL refiner",
                    refiner.model,
                    refiner.revision,
                    refiner.variant,
                    dtype=dtype,
                    # The pair shares these two, as diffusers documents for the SDXL refiner; they are loaded once.
                    text_encoder_2=base.text_encoder_2,
                    vae=base.vae,
                )
            )
        for pipeline in pipelines:
            if generation.scheduler:
                pipeline.scheduler = build_scheduler(generation.scheduler, pipeline.scheduler.config)
            check_steps(pipeline.scheduler.from_config(pipeline.scheduler.config), generation)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.to(device)
    return pipelines


def _load(model_class: Any, kind: str, model: str, revision: str | None, variant: str | None, **options: Any) -> Any:
    local = is_local(model)
    try:
        return model_class.from_pretrained(
            model,
            revision=revision,
            variant=variant,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=local,
            **options,
        )
    # diffusers, transformers, safetensors and the hub's HTTP client have no base class of their errors in common.
    except Exception as error:
        advice = "" if local else ". Check the id and revision, the network, and whether its licence was accepted"
        raise ModelError(f"{model}: cannot be loaded as {kind}: {error_reason(error)}{advice}") from error


def _dtype(name: str, device: torch.device) -> torch.dtype:
    import torch

    if name == "float16" and device.type == "cpu":
        warnings.warn("generation.dtype: float16 on a CPU is computed in float32", stacklevel=2)
        return torch.float32
    return getattr(torch, name)
