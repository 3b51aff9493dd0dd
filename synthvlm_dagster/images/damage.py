"""Images that turn out to be damaged where they are read: their files are set aside, and so are made again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import polars as pl

from synthvlm_dagster.errors import DamagedImagesError, ImageError
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.table import IMAGE_SCHEMA
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import quarantine_damaged, rows_by_shard
from synthvlm_dagster.store.storage import Storage

OnDamage = Callable[[str], None]
_IMAGE_ID = {"image_id": IMAGE_SCHEMA["image_id"]}


@contextmanager
def decoded(image_id: str, shard: str) -> Iterator[None]:
    """Say of an image that the block cannot decode which one it is.

    Raises:
        DamagedImagesError: instead of an ImageError.
    """
    try:
        yield
    except ImageError as error:
        raise DamagedImagesError(f"image {image_id} of shard {shard}: {error}", shard, image_id) from error


@contextmanager
def damage_set_aside(recipe: Recipe, storage: Storage, on_damage: OnDamage = lambda _: None) -> Iterator[None]:
    """Set aside what the block finds damaged, so that the next run makes it again.

    Args:
        recipe: names the generator.
        storage: the store.
        on_damage: told of each file.

    Raises:
        DamagedImagesError: what the block raised.
    """
    try:
        yield
    except DamagedImagesError as error:
        set_damage_aside(recipe, storage, error.shard, [error.image_id] if error.image_id else [], on_damage)
        raise


def set_damage_aside(
    recipe: Recipe,
    storage: Storage,
    shard: str,
    image_ids: Collection[str] = (),
    on_damage: OnDamage = lambda _: None,
) -> None:
    """Rename the damaged chunk files of a shard's images, and those of images that do not open, to `….corrupt`.

    Args:
        recipe: names the generator.
        storage: the store.
        shard: partition key.
        image_ids: images that do not open, whether or not their files are as they were written.
        on_damage: told of each file.

    Raises:
        StorageError: a file cannot be fetched or renamed.
    """
    table = images_table(recipe, shard)
    quarantine_damaged(storage, table, lambda message: on_damage(f"shard {shard}: {message}"))
    left = rows_by_shard(storage, table, _IMAGE_ID)
    for path in left.filter(pl.col("image_id").is_in(list(image_ids)))["file"].unique(maintain_order=True):
        renamed = storage.url(storage.quarantine(path))
        on_damage(f"shard {shard}: a file with an image that does not open is now {renamed}; its images are made again")
