"""The name under which a generator's images are stored: another generator, another name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.recipe import Generation, Recipe
from synthvlm_dagster.recipe.plain import without_folders

_WITHOUT_EFFECT_ON_PIXELS = frozenset(
    {
        "accept_licence",
        "batch_size",
        "compile",
        "device",
        "fuse_qkv",
        "generator",
        "images_per_chunk",
        "licence",
        "preset",
        "price_per_gpu_hour",
        "retries",
    }
)
IMAGES = "images"
FAILED_IMAGES = "failed_images"
_SLUG_LENGTH = 96
"""Characters, as many as the hub allows in a name; more would not fit into the names of folders."""
# Left out while they are at their defaults, so that images made before these settings existed keep their name.
_LATER_SETTINGS = ("vae", "loras", "quantization", "guidance_end", "long_prompts", "content_credentials")


def generator_name(recipe: Recipe) -> str:
    """Short name of the model and a fingerprint of everything that changes its pixels, e.g. `sdxl-base-1f2e3d4c5b`.

    Two recipes share a name exactly when the same caption and attempt give the same picture in both (up to the
    numerical noise of another batch size or device), in files that are signed alike.

    Raises:
        ModelError: a model written as a path is not there.
        RecipeError: the certificate of the recipe's content credentials cannot be read.
    """
    from synthvlm_dagster.images.content_credentials import credentials_identity

    generation = recipe.generation
    weights = [model_identity(generation.model, generation.revision)]
    if generation.refiner:
        weights.append(model_identity(generation.refiner.model, generation.refiner.revision))
    weights += [model_identity(part.model, part.revision) for part in (generation.vae, *generation.loras) if part]
    settings = pixel_settings(generation)
    if generation.content_credentials:
        settings["content_credentials"] = credentials_identity(generation.content_credentials)
    parts = [settings["refiner"], settings.get("vae"), *settings.get("loras", [])]
    for part in (settings, *filter(None, parts)):
        for replaced_by_weights in ("model", "revision"):
            part.pop(replaced_by_weights, None)
    slug = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(generation.model).name.lower()).strip("-")[:_SLUG_LENGTH]
    return f"{slug or 'model'}-{fingerprint(settings, weights, recipe.seed)}"


def pixel_settings(generation: Generation) -> dict[str, Any]:
    """The settings that change what is drawn or how it is stored, as plain JSON values."""
    settings = generation.model_dump(mode="json", exclude=set(_WITHOUT_EFFECT_ON_PIXELS))
    if generation.image_format == "png":
        del settings["image_quality"]
    for name in _LATER_SETTINGS:
        if getattr(generation, name) == Generation.model_fields[name].default:
            del settings[name]
    return settings


def generator_version(recipe: Recipe) -> str:
    """Fingerprint of the recipe's settings of the generator, for Dagster's code version; looks at no model."""
    settings = pixel_settings(recipe.generation)
    if signed := settings.get("content_credentials"):
        # A certificate counts by what it holds.
        settings["content_credentials"] = [signed["algorithm"], signed["time_stamp_url"]]
    return fingerprint(without_folders(settings), recipe.seed)


def shard_folder(folder: str, shard: str | None) -> str:
    """Path of a shard's own folder below one that holds those of all shards; without a shard, of that one."""
    return folder if shard is None else f"{folder}/{shard}"


def images_table(recipe: Recipe, shard: str | None = None) -> str:
    """Path of a shard's table in the store; without a shard, of the folder with those of all shards."""
    return shard_folder(f"{IMAGES}/{generator_name(recipe)}", shard)


def failed_images_table(recipe: Recipe, shard: str | None = None) -> str:
    """Path of the table of a shard's tries that gave no usable picture, or of the folder with those of all shards."""
    return shard_folder(f"{FAILED_IMAGES}/{generator_name(recipe)}", shard)
