"""Are the images of a shard all there, and do the first of them show anything?"""

from __future__ import annotations

from dataclasses import dataclass

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.present import planned_images, read_images
from synthvlm_dagster.images.soundness import image_problem
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage


@dataclass(frozen=True)
class Inspection:
    """What was found in a shard."""

    missing: int
    """Planned images that are not there, or stand in a chunk that cannot be read."""
    failed: dict[str, int]
    """Planned images that could not be made, by what was wrong with their last picture."""
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
            pixels = decode_image(stored["bytes"])
        except ImageError:
            undecodable.append(name)
            continue
        if pixels.shape[:2] != (height, width):
            undecodable.append(name)
        elif image_problem(pixels):
            flat.append(name)
    planned = planned_images(recipe, storage, shard)
    failed = dict(planned.failed["problem"].value_counts(sort=True).iter_rows())
    return Inspection(planned.missing.height, failed, images.height, tuple(undecodable), tuple(flat))
