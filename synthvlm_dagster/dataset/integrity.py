"""Whether a selection is what the recipe asks for, and its images are there and open."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from synthvlm_dagster.dataset.pairs import with_images
from synthvlm_dagster.errors import DamagedImagesError, ImageError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.damage import damage_set_aside, set_damage_aside
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage


def selection_faults(selected: pl.DataFrame, count: int) -> list[str]:
    """What is wrong with a selection of `count` pairs, one sentence each; empty when it is as it must be.

    Args:
        selected: with the columns image_id, caption_id and rank.
        count: pairs that there must be.
    """
    faults = [f"{selected.height} pairs instead of {count}"] if selected.height != count else []
    faults += [
        f"{repeated} of the rows repeat {column}"
        for column in ("image_id", "caption_id")
        if (repeated := selected.height - selected[column].n_unique())
    ]
    if sorted(selected["rank"]) != list(range(1, selected.height + 1)):
        faults.append(f"the ranks are not 1 to {selected.height}, each once")
    return faults


def absent_images(recipe: Recipe, storage: Storage, pairs: pl.DataFrame) -> list[str]:
    """The image_ids of `pairs` that the store does not hold.

    Args:
        recipe: names the generator whose images they are.
        storage: the store.
        pairs: with the columns image_id and shard.
    """
    absent: list[str] = []
    for shard in pairs.sort("shard").partition_by("shard"):
        images = PlannedImages.read(recipe, storage, shard.select("image_id", "shard"), shard["shard"][0])
        absent.extend(shard.join(images.present, on="image_id", how="anti").sort("image_id")["image_id"])
    return absent


def unreadable_images(recipe: Recipe, storage: Storage, pairs: pl.DataFrame) -> dict[str, str]:
    """Decode the images of `pairs`, which the store must hold; image_id and reason of each that does not open."""
    reasons = {}
    for batch in with_images(recipe, storage, pairs.select("image_id", "shard")):
        for image_id, content in batch.select("image_id", pl.col("image").struct.field("bytes")).iter_rows():
            try:
                decode_image(content)
            except ImageError as error:
                reasons[image_id] = str(error)
    return reasons


def set_unreadable_aside(
    recipe: Recipe, storage: Storage, pairs: pl.DataFrame, on_damage: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """Decode the images of pairs, and set the files aside of those that do not open, so that they are made again.

    Args:
        recipe: names the generator whose images they are.
        storage: the store.
        pairs: with the columns image_id and shard; the store must hold their images.
        on_damage: told of each file that is set aside.

    Returns:
        image_id and reason of each image that does not open; of a file that cannot be read, its shard and the reason.
    """
    reasons: dict[str, str] = {}
    for (shard,), rows in pairs.sort("shard").partition_by("shard", as_dict=True).items():
        try:
            with damage_set_aside(recipe, storage, on_damage):
                found = unreadable_images(recipe, storage, rows)
        except DamagedImagesError as error:
            found = {f"shard {shard}": str(error)}
        else:
            if found:
                set_damage_aside(recipe, storage, str(shard), found, on_damage)
        reasons |= found
    return reasons
