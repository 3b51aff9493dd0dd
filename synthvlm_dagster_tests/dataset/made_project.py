"""A project of which everything is made, without models: its images and scores are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.captions.assets import caption_assets
from synthvlm_dagster.dataset.assets import dataset_assets
from synthvlm_dagster.dataset.checks import dataset_checks
from synthvlm_dagster.images.assets import planned_attempts
from synthvlm_dagster.images.table import EncodedImage
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import embeddings_table, scores_table
from synthvlm_dagster.scores.table import SCORES_SCHEMA
from synthvlm_dagster.store.chunks import write_chunk
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.dataset.conftest import fraction, good_captions, picture
from synthvlm_dagster_tests.pictures import store_images


def settings_of(folder: Path) -> dict[str, Any]:
    return {
        "name": "shapes",
        "description": "Twelve circles.",
        "storage": str(folder / "store"),
        "sources": [{"name": "given", "path": str(folder / "captions.txt"), "format": "txt"}],
        "shards": 2,
        "curation": {"flagged_words": str(folder / "words.txt")},
        "attempts": {"per_caption": 2},
        "generation": {"model": str(folder / "generator"), "image_format": "png", "width": 64, "height": 64},
        "scoring": {"clip": {"model": str(folder / "judge"), "pretrained": None}},
        "selection": {"share": 0.5},
    }


def changed_recipe(folder: Path, **changed: Any) -> Recipe:
    """The recipe with values by their dotted place."""
    settings = settings_of(folder)
    for place, value in changed.items():
        *sections, name = place.split("__")
        section = settings
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return Recipe.model_validate(settings)


def give_images_and_scores(recipe: Recipe, storage: Storage) -> None:
    for shard in recipe.shard_keys:
        planned = read_plan(recipe, storage, shard)
        encoded = [
            EncodedImage(picture(recipe, image_id, text), 64, 64)
            for image_id, text in planned.select("image_id", "text").iter_rows()
        ]
        store_images(recipe, storage, shard, planned, encoded)
        scores = planned.with_columns(
            pl.col("image_id").map_elements(lambda name, of=of: fraction(name, of), pl.Float64).alias(of)
            for of in ("clip_score", "ssim")
        )
        write_chunk(storage, scores_table(recipe, shard), scores.select(*SCORES_SCHEMA))
        points = np.array([[fraction(name, axis) for axis in "xyz"] for name in planned["image_id"]], np.float32)
        embeddings = planned.select("image_id", pl.Series("embedding", points.reshape(-1, 3)))
        write_chunk(storage, embeddings_table(recipe, shard), embeddings)


def make_project(folder: Path) -> None:
    """Write the files that the recipe names, and make every table, export and page."""
    (folder / "captions.txt").write_text("\n".join(good_captions(12)) + "\n")
    (folder / "words.txt").write_text("zounds\n")
    for model in ("generator", "judge"):
        (folder / model).mkdir()
        (folder / model / "weights.safetensors").write_bytes(model.encode())
    recipe = Recipe.model_validate(settings_of(folder))
    dataset = Dataset(recipe)
    before, behind = [*caption_assets(dataset), planned_attempts(dataset)], dataset_assets(dataset)
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(before, instance=instance).success
        give_images_and_scores(recipe, dataset.storage)
        behind = [asset for asset in behind if asset.keys.isdisjoint({dataset.key("reference_scores")})]
        assert dg.materialize([*behind, *dataset_checks(dataset)], instance=instance).success
