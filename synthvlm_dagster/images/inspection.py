"""Are the images of a shard all there, and do the first of them show anything?"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageStat, UnidentifiedImageError

from synthvlm_dagster.images.shard import missing_images, read_images
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.storage import Storage

FLAT_BELOW = 8
"""An image whose channels all stay within so many of 255 levels is flat: black after an overflow, or a plain colour."""


@dataclass(frozen=True)
class Inspection:
    """What was found in a shard."""

    missing: int
    """Planned images that are not there, or stand in a chunk that cannot be read."""
    sampled: int
    """Images that were looked at."""
    undecodable: tuple[str, ...]
    """Ids of those that are no image, or not of the recorded size."""
    flat: tuple[str, ...]
    """Ids of those that are black or one colour all over."""


def inspect_shard(recipe: Recipe, storage: Storage, shard: str, sample: int = 32) -> Inspection:
    """Count what is missing, and open the first `sample` images.

    Raises:
        StorageError: nothing has been planned yet, or the store cannot be reached.
    """
    images = read_images(recipe, storage, shard).select("image_id", "image", "width", "height").head(sample).collect()
    undecodable, flat = [], []
    for name, stored, width, height in images.iter_rows():
        try:
            with Image.open(io.BytesIO(stored["bytes"])) as image:
                contrast = max(high - low for low, high in ImageStat.Stat(image.convert("RGB")).extrema)
        except (UnidentifiedImageError, OSError):
            undecodable.append(name)
            continue
        if image.size != (width, height):
            undecodable.append(name)
        elif contrast < FLAT_BELOW:
            flat.append(name)
    missing = missing_images(recipe, storage, shard).height
    return Inspection(missing, images.height, tuple(undecodable), tuple(flat))
