"""Are the images of a shard all there, and do the first of them show anything?"""

from __future__ import annotations

from dataclasses import dataclass

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.soundness import image_problem
from synthvlm_dagster.images.state import PlannedImages


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


def inspect_shard(images: PlannedImages, sample: int = 32) -> Inspection:
    """Count what is missing, and open the first `sample` images.

    Raises:
        StorageError: the store cannot be reached.
    """
    sampled = images.scan().select("image_id", "image", "width", "height").head(sample).collect()
    undecodable, flat = [], []
    for name, stored, width, height in sampled.iter_rows():
        try:
            pixels = decode_image(stored["bytes"])
        except ImageError:
            undecodable.append(name)
            continue
        if pixels.shape[:2] != (height, width):
            undecodable.append(name)
        elif image_problem(pixels):
            flat.append(name)
    failed = dict(images.failed["problem"].value_counts(sort=True).iter_rows())
    return Inspection(images.missing.height, failed, sampled.height, tuple(undecodable), tuple(flat))
