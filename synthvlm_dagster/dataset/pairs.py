"""The selected pairs together with their images, streamed so that no shard has to fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.state import PlannedImages, image_batches
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

SELECTED = "dataset/selected"
SET_ASIDE = "dataset/set_aside"

_IMAGES_IN_MEMORY = 64
_PLAIN_NAME = r"^[0-9A-Za-z_-]{1,64}$"


def with_images(
    recipe: Recipe,
    storage: Storage,
    pairs: pl.DataFrame,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[pl.DataFrame]:
    """Join images to pairs, a few dozen at a time.

    Args:
        pairs: at least the columns image_id and shard; image_id is unique.

    Yields:
        Frames of at most 64 rows: the columns of `pairs`, then those columns of `images` that `pairs` has not
        (image {bytes, path}, width, height, seed, …). Shards come in order of their key, rows in the store's order.

    Raises:
        StorageError: an image is missing from the store, or its file is damaged; or an image_id or shard is no plain
            name, as a table of strangers may hold to have files written elsewhere.
    """
    _require_plain_names(pairs)
    done = 0
    with Progress("images read", on_progress, pairs.height) as progress:
        for shard in pairs.sort("shard").partition_by("shard"):
            shard_key = shard["shard"][0]
            missing = set(shard["image_id"])
            images = PlannedImages.read(recipe, storage, shard.select("image_id", "shard"), shard_key)
            for batch in image_batches(images.scan(), shard_key, _IMAGES_IN_MEMORY):
                missing -= set(batch["image_id"])
                new = [name for name in batch.columns if name not in pairs.columns]
                yield (
                    batch.select("image_id", *new)
                    .join(shard, on="image_id", maintain_order="left")
                    .select(*pairs.columns, *new)
                )
                done += batch.height
                progress.report(done)
            if missing:
                raise StorageError(
                    f"shard {shard_key}: {len(missing)} images of selected or scored pairs are not in the store, among "
                    f"them {min(missing)}. Materialize generated_images[{shard_key}] again"
                )


def _require_plain_names(pairs: pl.DataFrame) -> None:
    """Exports name files and folders by these."""
    for column in ("image_id", "shard"):
        bad = pairs.filter(~pl.col(column).str.contains(_PLAIN_NAME).fill_null(False))
        if bad.height:
            raise StorageError(
                f"{column} {bad[column][0]!r} of a pair is no name of this program. The table of pairs was changed by "
                "another; delete it, and materialize selected_pairs again"
            )
