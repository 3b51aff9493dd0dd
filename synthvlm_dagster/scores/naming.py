"""The names of what measures the images: equal measurements, equal name."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.images.naming import generator_name, shard_folder
from synthvlm_dagster.recipe import JUDGE_SETTINGS, Recipe
from synthvlm_dagster.recipe.plain import without_folders

_SLUG_LENGTH = 32
_PAPERS_RATIO = 336 / 1024


def scorer_name(recipe: Recipe) -> str:
    """Short name of a recipe's scorer, such as `vit-b-32-0f1e2d3c4b`: part of the path of its scores.

    It changes with all that changes a score – CLIP weights and precision, prompt prefix, SSIM settings – and not with
    batch size, device or judges.

    Raises:
        ModelError: the CLIP model is a path, and nothing is there.
    """
    clip = recipe.scoring.clip
    weights = _weights(clip.model, clip.pretrained)
    return f"{_slug(clip.model)}-{fingerprint(weights, clip.prompt_prefix, clip.dtype, ssim_settings(recipe))}"


def scores_table(recipe: Recipe, shard: str | None = None) -> str:
    """Path in the store of one shard's scores by this recipe's generator and scorer; without a shard, of all theirs."""
    return shard_folder(f"scores/{generator_name(recipe)}/{scorer_name(recipe)}", shard)


def judge_table(recipe: Recipe, judge: str, shard: str | None = None) -> str:
    """Path in the store of one shard's values by a held-out judge: `scores/<generator>/<judge>-<fingerprint>/<shard>`.

    Without a shard, of the folder that holds those of all shards.

    Raises:
        ModelError: a model of the judge is a path, and nothing is there.
    """
    section = getattr(recipe.scoring.judges, judge)
    settings = section.model_dump(mode="json", exclude=set(JUDGE_SETTINGS[judge].speed_settings))
    return shard_folder(f"scores/{generator_name(recipe)}/{judge}-{fingerprint(_with_identities(settings))}", shard)


def embeddings_table(recipe: Recipe, shard: str | None = None) -> str:
    """Path in the store of the image embeddings of one shard by the CLIP model that scores; without one, of all.

    Raises:
        ModelError: the CLIP model is a path, and nothing is there.
    """
    clip = recipe.scoring.clip
    name = f"{_slug(clip.model)}-{fingerprint(_weights(clip.model, clip.pretrained), clip.dtype)}"
    return shard_folder(f"embeddings/{generator_name(recipe)}/{name}", shard)


def reduced_size(recipe: Recipe) -> int:
    """Side in pixels of the small square of SSIM: the recipe's, or 336/1024 of its images' shorter side."""
    return recipe.scoring.ssim.reduced_size or papers_reduced_size(recipe.generation.height, recipe.generation.width)


def papers_reduced_size(height: int, width: int) -> int:
    """336/1024 of the shorter side, rounded: what the paper shrinks its 1024 pixels to; at least 1."""
    return max(1, round(_PAPERS_RATIO * min(height, width)))


def ssim_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that change the SSIM of the recipe's images, as plain JSON values.

    The size is the one that is in effect, so that a recipe which leaves it out shares its scores with one that names
    it; `window`, which came later, is left out at its default, so that scores made before keep their name.
    """
    ssim = recipe.scoring.ssim
    settings: dict[str, Any] = {"reduced_size": reduced_size(recipe), "channels": ssim.channels}
    return settings if ssim.window == "uniform" else settings | {"window": ssim.window}


def scoring_version(recipe: Recipe) -> str:
    """Fingerprint of the recipe's settings of scorer and judges, for Dagster's code version; looks at no model."""
    scoring = recipe.scoring
    judges = {
        name: section.model_dump(mode="json", exclude=set(JUDGE_SETTINGS[name].speed_settings))
        for name, section in scoring.judges.on.items()
    }
    parts = [scoring.clip.model_dump(mode="json"), ssim_settings(recipe), *([judges] if judges else [])]
    return fingerprint(without_folders(parts))


def _slug(model: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", PurePath(model).name.lower()).strip("-")[:_SLUG_LENGTH]


def _weights(model: str, pretrained: str | None) -> list[str]:
    return [model_identity(name, None) for name in (model, pretrained) if name is not None]


def _with_identities(settings: Any) -> Any:
    """Settings in which every model and its revision have given place to what its weights are known by."""
    if isinstance(settings, list):
        return [_with_identities(each) for each in settings]
    if not isinstance(settings, dict):
        return settings
    plain = {name: _with_identities(value) for name, value in settings.items() if name != "revision"}
    for name in ("model", "predictor", "pretrained"):
        if plain.get(name) is not None:
            plain[name] = model_identity(plain[name], settings.get("revision"))
    return plain
