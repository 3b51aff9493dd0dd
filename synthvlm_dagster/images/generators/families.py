"""Which family a loaded pipeline belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.generators.any_pipeline import AnyPipeline
from synthvlm_dagster.images.generators.family import Family
from synthvlm_dagster.images.generators.flux import Flux
from synthvlm_dagster.images.generators.pixart import PixArtSigma
from synthvlm_dagster.images.generators.sd3 import StableDiffusion3
from synthvlm_dagster.images.generators.sdxl import StableDiffusionXL, StableDiffusionXLTurbo
from synthvlm_dagster.images.generators.stable_diffusion import StableDiffusion
from synthvlm_dagster.recipe import Generation

FAMILIES: dict[str, type[Family]] = {
    "flux": Flux,
    "pixart-sigma": PixArtSigma,
    "sd3": StableDiffusion3,
    "sdxl": StableDiffusionXL,
    "sdxl-turbo": StableDiffusionXLTurbo,
}
"""Families by the name that a recipe gives them under `generator`."""

_RECOGNIZED = (StableDiffusionXL, StableDiffusion3, Flux, PixArtSigma, StableDiffusion)


def family_of(pipelines: Sequence[Any], generation: Generation) -> Family:
    """The family that the recipe names, or, for `auto`, the one that the base pipeline's class belongs to.

    Raises:
        RecipeError: the model is not of the family that the recipe names, or cannot do what the recipe asks.
    """
    class_name = type(pipelines[0]).__name__
    if generation.generator == "auto":
        recognized = (family for family in _RECOGNIZED if class_name in family.pipeline_classes)
        return next(recognized, AnyPipeline)(pipelines, generation)
    family = FAMILIES[generation.generator]
    if class_name not in family.pipeline_classes:
        raise RecipeError(
            f"generation.generator: {generation.model} is a {class_name}, not of the family {generation.generator}; "
            "name its family, or write auto"
        )
    return family(pipelines, generation)
