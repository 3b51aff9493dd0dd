"""The name of what measures the images: equal measurements, equal name."""

from __future__ import annotations

import re
from pathlib import PurePath

from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.recipe import Recipe

_SLUG_LENGTH = 32


def scorer_name(recipe: Recipe) -> str:
    """Short name of a recipe's scorer, such as `vit-b-32-0f1e2d3c4b`: part of the path of its scores.

    It changes with all that changes a score – CLIP weights and precision, prompt prefix, SSIM settings – and not with
    batch size or device.

    Raises:
        ModelError: the CLIP model is a path, and nothing is there.
    """
    clip, ssim = recipe.scoring.clip, recipe.scoring.ssim
    weights = [model_identity(name, None) for name in (clip.model, clip.pretrained) if name is not None]
    slug = re.sub(r"[^a-z0-9]+", "-", PurePath(clip.model).name.lower()).strip("-")[:_SLUG_LENGTH]
    return f"{slug}-{fingerprint(weights, clip.prompt_prefix, clip.dtype, ssim)}"


def scores_table(recipe: Recipe, shard: str) -> str:
    """Path in the store of one shard's scores by this recipe's generator and scorer."""
    return f"scores/{generator_name(recipe)}/{scorer_name(recipe)}/{shard}"
