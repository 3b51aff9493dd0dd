"""What the images still to be made will take, from what earlier shards took."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
import polars as pl

from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import recorded_work
from synthvlm_dagster.store.storage import Storage


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


def estimate_images(dataset: Dataset, instance: dg.DagsterInstance, images: int) -> Estimate:
    """Estimate from the shards that the recipe's generator made before, as their materializations tell.

    Args:
        dataset: its recipe names the generator and the price, its store holds the images made so far.
        instance: holds the materializations.
        images: how many are to be made.
    """
    recipe = dataset.recipe
    generator = generator_name(recipe)
    work = recorded_work(instance, dataset.key("generated_images"), "images_made_now", generator=generator)
    gpu_hours = images * work.seconds / work.images / 3600 if work.images else None
    price = recipe.generation.price_per_gpu_hour
    return Estimate(
        images=images,
        measured=work.images,
        gpu_hours=gpu_hours,
        dollars=gpu_hours * price if gpu_hours is not None and price is not None else None,
        bytes=_bytes_per_image(dataset.storage, f"images/{generator}", images),
    )


def _bytes_per_image(storage: Storage, folder: str, images: int) -> float | None:
    files = storage.files(folder, ".parquet")
    if not files:
        return None
    present = storage.scan_files(files).select(pl.len()).collect().item()
    return images * sum(map(storage.size, files)) / present if present else None
