"""LoRA weights (arXiv 2106.09685), fused into the model so that they cost nothing while it draws."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from synthvlm_dagster.errors import ModelError, RecipeError, error_reason
from synthvlm_dagster.images.model_folder import is_local
from synthvlm_dagster.recipe.generation import Lora


def fuse_loras(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Add the weights to the pipeline's own, in this order, each times its scale.

    Raises:
        ModelError: the weights are missing, damaged, pickled, or made for another model.
        RecipeError: the pipeline takes no LoRA weights, or the package peft is missing.
    """
    if not loras:
        return
    require_peft()
    if not hasattr(pipeline, "load_lora_weights"):
        raise RecipeError(f"generation.loras: {type(pipeline).__name__} takes none; remove them")
    for lora in loras:
        try:
            pipeline.load_lora_weights(
                lora.model,
                weight_name=lora.weight_name,
                revision=lora.revision,
                use_safetensors=True,
                local_files_only=is_local(lora.model),
            )
            loaded = pipeline.get_active_adapters()
            if loaded:
                pipeline.fuse_lora(lora_scale=lora.scale)
                pipeline.unload_lora_weights()
        # diffusers, peft, safetensors and the hub's HTTP client have no base class of their errors in common.
        except Exception as error:
            raise ModelError(f"{lora.model}: cannot be loaded as LoRA weights: {error_reason(error)}") from error
        if not loaded:
            raise ModelError(f"{lora.model}: has no LoRA weights for the parts of a {type(pipeline).__name__}")


def require_peft() -> None:
    """Raise RecipeError where the package is missing that diffusers loads LoRA weights with."""
    if importlib.util.find_spec("peft") is None:
        raise RecipeError("generation.loras: needs the package peft: pip install 'synthvlm_dagster[lora]'")
