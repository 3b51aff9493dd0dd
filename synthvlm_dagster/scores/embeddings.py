"""What the scorer's CLIP model saw in each image: unit embeddings, kept so that no one has to look again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import embeddings_table
from synthvlm_dagster.store.chunks import read_columns
from synthvlm_dagster.store.storage import Storage

_NAMED = 3


def read_embeddings(recipe: Recipe, storage: Storage, shard: str, scored: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """CLIP embeddings of images of a shard that have a score, by the model that measured it.

    They stand in files of their own beside the scores, which stay small.

    Args:
        recipe: names generator and CLIP model.
        storage: the store.
        shard: partition key.
        scored: ids of the images.

    Returns:
        image_ids, sorted: a series of n strings; and float32 of shape (n, embedding size), rows of length 1 in the same
        order. Without images both are empty; the second then has shape (0, 0).

    Raises:
        StorageError: an image was scored before embeddings were kept, or its file is damaged: says what to materialize.
    """
    scored = scored.sort()
    if scored.is_empty():
        return scored, np.empty((0, 0), np.float32)
    table = embeddings_table(recipe, shard)
    chunks = [read_columns(storage, path, ["image_id", "embedding"]) for path in storage.files(table, ".parquet")]
    readable = [rows for rows in chunks if rows is not None]
    found = pl.concat(readable) if readable else pl.DataFrame(schema={"image_id": pl.String})
    kept = scored.to_frame().join(found.unique("image_id", keep="first"), on="image_id", maintain_order="left")
    if kept.height < len(scored):
        lacking = scored.filter(~scored.is_in(kept["image_id"].implode()))
        named = ", ".join(lacking.head(_NAMED)) + (", …" if len(lacking) > _NAMED else "")
        raise StorageError(
            f"{storage.url(table)}: {len(lacking)} of {len(scored)} scored images have no embedding ({named}): they "
            "were scored before embeddings were kept, or a file is damaged. Materialize image_scores for shard "
            f"{shard} again: it looks anew at those images alone"
        )
    return kept["image_id"], kept["embedding"].to_numpy()


def embeddings_by_shard(
    recipe: Recipe, storage: Storage, scores: pl.LazyFrame
) -> Iterator[tuple[pl.Series, np.ndarray]]:
    """The embeddings of scored images, shard by shard, in order; nothing is read before the first is asked for.

    Args:
        recipe: names generator and CLIP model.
        storage: the store.
        scores: image_id and shard of the images.

    Yields:
        As `read_embeddings` returns.

    Raises:
        StorageError: as `read_embeddings`.
    """
    scored = scores.select("image_id", "shard").collect().sort("shard")
    for (shard,), images in scored.partition_by("shard", as_dict=True, maintain_order=True).items():
        yield read_embeddings(recipe, storage, str(shard), images["image_id"])
