"""Diffusion models that draw captions."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.devices import usable_device
from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.images.model_folder import check_model, is_local, scheduler_class
from synthvlm_dagster.quiet import quiet_models
from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from PIL.Image import Image


class DiffusersGenerator:
    """Any text-to-image pipeline of diffusers, with an SDXL refiner if the recipe names one.

    The model is loaded when the first image is asked for, from safetensors only and without remote code. float16 is
    hardly implemented on CPUs: there it becomes float32, with a warning, while names and rows keep the recipe's word.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._pipelines: list[DiffusionPipeline] = []

    def load(self) -> float:
        """Load the models, if they are not loaded yet.

        Returns:
            Seconds that it took, the import of the libraries included; 0 when they were loaded before.

        Raises:
            ModelError: a model is missing, damaged, pickled, no text-to-image pipeline, or cannot be fetched.
            RecipeError: the device or the scheduler does not exist, or the model cannot hand over to a refiner.
        """
        if self._pipelines:
            return 0.0
        began = time.monotonic()
        self._pipelines = _load_pipelines(self._generation)
        return time.monotonic() - began

    def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """Draw one image per text.

        Args:
            texts: captions of any length; the model's tokenizer cuts what is too long.
            seeds: as many, each in [0, 2**63). Each image's noise comes from its own CPU generator, so that it does
                not depend on the batch: another batch size gives the same picture within numerical noise.

        Returns:
            RGB images of the recipe's width and height.

        Raises:
            ModelError: as `load`.
            RecipeError: as `load`; or the model has no parameter that the recipe sets.
        """
        import torch

        self.load()
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        settings = self._generation
        arguments: dict[str, Any] = {
            "prompt": list(texts),
            "negative_prompt": settings.negative_prompt,
            "num_inference_steps": settings.num_inference_steps,
            "guidance_scale": settings.guidance_scale,
            "guidance_rescale": settings.guidance_rescale or None,
            "generator": generators,
        }
        size = {"width": settings.width, "height": settings.height}
        with quiet_models():
            if settings.refiner is None:
                return _call(self._pipelines[0], **arguments, **size, output_type="pil").images
            base, refiner = self._pipelines
            latents = _call(
                base, **arguments, **size, denoising_end=settings.refiner.handover, output_type="latent"
            ).images
            return _call(
                refiner, **arguments, image=latents, denoising_start=settings.refiner.handover, output_type="pil"
            ).images


def _load_pipelines(generation: Generation) -> list[DiffusionPipeline]:
    """The base model and, if the recipe has one, the refiner, on their device."""
    from diffusers import AutoPipelineForText2Image, StableDiffusionXLImg2ImgPipeline

    check_model(generation)
    device = usable_device(generation.device, "generation.device")
    dtype = _dtype(generation.dtype, device)
    with quiet_models():
        base = _load(AutoPipelineForText2Image, generation.model, generation.revision, generation.variant, dtype=dtype)
        pipelines = [base]
        if refiner := generation.refiner:
            if "denoising_end" not in inspect.signature(base.__call__).parameters:
                raise RecipeError(
                    f"generation.refiner: {generation.model} is a {type(base).__name__}; only SDXL models can hand "
                    "over to a refiner"
                )
            # The pair shares these two, as diffusers documents for the SDXL refiner; they are loaded once.
            shared = {"text_encoder_2": base.text_encoder_2, "vae": base.vae}
            kind = StableDiffusionXLImg2ImgPipeline
            pipelines.append(_load(kind, refiner.model, refiner.revision, refiner.variant, dtype=dtype, **shared))
        for pipeline in pipelines:
            if generation.scheduler:
                scheduler = scheduler_class(generation.scheduler)
                pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **generation.scheduler.config)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.to(device)
    return pipelines


def _load(pipeline_class: Any, model: str, revision: str | None, variant: str | None, **options: Any) -> Any:
    local = is_local(model)
    try:
        return pipeline_class.from_pretrained(
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
        raise ModelError(f"{model}: cannot be loaded as a text-to-image pipeline: {_reason(error)}{advice}") from error


def _reason(error: BaseException) -> str:
    """What an error says, and what the error at its root says, in one line."""
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    sentences = dict.fromkeys(" ".join(str(part).split()).rstrip(".") for part in (error, root))
    return ": ".join(sentence for sentence in sentences if sentence)


def _call(pipeline: Any, **arguments: Any) -> Any:
    """Call a pipeline with the arguments that are set.

    Raises:
        RecipeError: the pipeline knows no such parameter.
    """
    known = inspect.signature(pipeline.__call__).parameters
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in given.keys() - known.keys():
        raise RecipeError(f"generation.{name}: {type(pipeline).__name__} has no such parameter; remove it")
    return pipeline(**given)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    import torch

    if name == "float16" and device.type == "cpu":
        warnings.warn("generation.dtype: float16 on a CPU is computed in float32", stacklevel=2)
        return torch.float32
    return getattr(torch, name)
