"""What the images still to be made will take, from what earlier shards took."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
import polars as pl

from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.storage import Storage

GENERATED_IMAGES = dg.AssetKey("generated_images")
# The newest events say most about the machine and settings of today; a shard made twice counts twice.
_EVENTS_READ = 1000


@dataclass(frozen=True)
class Estimate:
    """Time, money and room for a number of images; None where nothing is known yet.

    Attributes:
        images: how many are to be made.
        measured: images that the rate was measured on.
        gpu_hours: of one GPU (or CPU, where that is what made the earlier ones).
        dollars: at the recipe's price per GPU-hour; None when the recipe has none.
        bytes: of the image files, in the store.
    """

    images: int
    measured: int
    gpu_hours: float | None
    dollars: float | None
    bytes: float | None


def estimate_images(recipe: Recipe, storage: Storage, instance: dg.DagsterInstance, images: int) -> Estimate:
    """Estimate from the shards that the recipe's generator made before, as their materializations tell.

    Args:
        recipe: names the generator and the price.
        storage: holds the images made so far.
        instance: holds the materializations.
        images: how many are to be made.
    """
    generator = generator_name(recipe)
    made, seconds = _measured(instance, generator)
    gpu_hours = images * seconds / made / 3600 if made else None
    price = recipe.generation.price_per_gpu_hour
    return Estimate(
        images=images,
        measured=made,
        gpu_hours=gpu_hours,
        dollars=gpu_hours * price if gpu_hours is not None and price is not None else None,
        bytes=_bytes_per_image(storage, f"images/{generator}", images),
    )


def _measured(instance: dg.DagsterInstance, generator: str) -> tuple[int, float]:
    """Images and seconds of the shards that this generator made."""
    records = instance.fetch_materializations(GENERATED_IMAGES, limit=_EVENTS_READ).records
    made, seconds = 0, 0.0
    for record in records:
        event = record.asset_materialization
        metadata = event.metadata if event else {}
        of_generator, images, took = (
            metadata[name].value if name in metadata else None for name in ("generator", "images_made_now", "seconds")
        )
        if of_generator == generator and isinstance(images, int) and isinstance(took, float | int):
            made += images
            seconds += took
    return made, seconds


def _bytes_per_image(storage: Storage, folder: str, images: int) -> float | None:
    files = storage.files(folder, ".parquet")
    if not files:
        return None
    present = storage.scan_files(files).select(pl.len()).collect().item()
    return images * sum(map(storage.size, files)) / present if present else None
