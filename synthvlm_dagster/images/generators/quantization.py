"""Quantization of a model's weights while they are loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from synthvlm_dagster.errors import RecipeError, error_reason
from synthvlm_dagster.recipe.generation import Quantization

_PACKAGES = {
    "bitsandbytes_4bit": ("bitsandbytes", "bitsandbytes"),
    "bitsandbytes_8bit": ("bitsandbytes", "bitsandbytes"),
    "quanto": ("optimum-quanto", "optimum"),
    "torchao": ("torchao", "torchao"),
}
"""What each backend that quantizes while loading needs: name to install, name to import."""

_DENOISERS = ("transformer", "unet")


def quantization_config(quantization: Quantization) -> Any:
    """What `DiffusionPipeline.from_pretrained` takes as its `quantization_config`.

    Every component gets a configuration of the library that loads it, because diffusers and transformers name the
    settings of some backends differently. torchao's `quant_type` is written as the name of one of its configuration
    classes, e.g. Int8WeightOnlyConfig.

    Raises:
        RecipeError: there is no such backend, its package is missing, or it has no such setting.
    """
    from diffusers import PipelineQuantizationConfig
    from diffusers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as DIFFUSERS_CONFIGS
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as TRANSFORMERS_CONFIGS

    backend = quantization.backend
    if backend not in _PACKAGES:
        raise RecipeError(f"generation.quantization.backend: {backend} is none of {', '.join(sorted(_PACKAGES))}")
    package, module = _PACKAGES[backend]
    if importlib.util.find_spec(module) is None:
        raise RecipeError(
            f"generation.quantization.backend: {backend} needs a package that is not installed: pip install {package}"
        )
    components = quantization.components or _DENOISERS
    try:
        return PipelineQuantizationConfig(
            quant_mapping={
                component: _config(TRANSFORMERS_CONFIGS if "encoder" in component else DIFFUSERS_CONFIGS, quantization)
                for component in components
            }
        )
    # Each backend refuses what it does not know in its own way.
    except Exception as error:
        raise RecipeError(f"generation.quantization.kwargs: {backend} refuses them: {error_reason(error)}") from error


def _config(configs: Mapping[str, Any], quantization: Quantization) -> Any:
    settings = dict(quantization.kwargs)
    if quantization.backend.startswith("bitsandbytes_"):
        settings = {f"load_in_{quantization.backend.removeprefix('bitsandbytes_')}": True, **settings}
    if quantization.backend == "torchao" and isinstance(settings.get("quant_type"), str):
        import torchao.quantization

        settings["quant_type"] = getattr(torchao.quantization, settings["quant_type"])()
    return configs[quantization.backend](**settings)
