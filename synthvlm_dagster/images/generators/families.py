"""Which family a loaded pipeline belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.generators.any_pipeline import AnyPipeline
from synthvlm_dagster.images.generators.family import Family
from synthvlm_dagster.images.generators.flux import Flux
from synthvlm_dagster.images.generators.pixart import PixArtSigma
from synthvlm_dagster.images.generators.sd3 import StableDiffusion3
from synthvlm_dagster.images.generators.sdxl import StableDiffusionXL, StableDiffusionXLTurbo
from synthvlm_dagster.images.generators.stable_diffusion import StableDiffusion
from synthvlm_dagster.images.model_folder import is_local, pipeline_class
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
    _require_family(class_name, generation)
    return FAMILIES[generation.generator](pipelines, generation)


def check_family(generation: Generation) -> None:
    """Refuse, without loading it, a model folder of another family than the recipe names.

    Raises:
        ModelError: the folder is no pipeline.
        RecipeError: it is of another family.
    """
    if generation.generator == "auto" or not is_local(generation.model):
        return
    class_name = pipeline_class(Path(generation.model))
    # A class that no family knows may become one of them when it is loaded for drawing from text.
    if any(class_name in family.pipeline_classes for family in _RECOGNIZED):
        _require_family(class_name, generation)


def _require_family(class_name: str, generation: Generation) -> None:
    if class_name not in FAMILIES[generation.generator].pipeline_classes:
        raise RecipeError(
            f"generation.generator: {generation.model} is a {class_name}, not of the family {generation.generator}; "
            "name its family, or write auto"
        )
