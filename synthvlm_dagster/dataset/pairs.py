"""The selected pairs together with their images, streamed so that no shard has to fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from tempfile import SpooledTemporaryFile

import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.state import PlannedImages, image_batches
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

SELECTED = "dataset/selected"
SET_ASIDE = "dataset/set_aside"

_IMAGES_IN_MEMORY = 64
_BYTES_IN_MEMORY = 256 << 20
"""Pictures of a shard's pairs up to which none is written to a temporary file."""
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
        (image {bytes, path}, width, height, seed, …). Shards come in order of their key, rows in that of image_id:
        in which order images were made, and into how many files, shows nowhere.

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
            for batch in _by_image_id(image_batches(images.scan(), shard_key, _IMAGES_IN_MEMORY)):
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


def _by_image_id(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows, sorted by image_id; their pictures wait in a temporary file where they are many."""
    rows: list[pl.DataFrame] = []
    with SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY) as spool:
        for batch in batches:
            places = [(spool.tell(), spool.write(picture)) for picture in batch["image"].struct.field("bytes")]
            begins, sizes = (pl.Series([place[part] for place in places], dtype=pl.Int64) for part in (0, 1))
            path = pl.col("image").struct.field("path")
            rows.append(batch.with_columns(path.alias("image"), _begin=begins, _size=sizes))
        if not rows:
            return
        for part in pl.concat(rows).sort("image_id").iter_slices(_IMAGES_IN_MEMORY):
            pictures = []
            for begin, size in part.select("_begin", "_size").iter_rows():
                spool.seek(begin)
                pictures.append(spool.read(size))
            image = pl.struct(pl.Series("bytes", pictures, pl.Binary), pl.col("image").alias("path"))
            yield part.with_columns(image.alias("image")).drop("_begin", "_size")


def _require_plain_names(pairs: pl.DataFrame) -> None:
    """Exports name files and folders by these."""
    for column in ("image_id", "shard"):
        bad = pairs.filter(~pl.col(column).str.contains(_PLAIN_NAME).fill_null(False))
        if bad.height:
            raise StorageError(
                f"{column} {bad[column][0]!r} of a pair is no name of this program. The table of pairs was changed by "
                "another; delete it, and materialize selected_pairs again"
            )
