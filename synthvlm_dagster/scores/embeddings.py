"""What the scorer's CLIP model saw in each image: unit embeddings, kept so that no one has to look again."""

from __future__ import annotations

import numpy as np
import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import embeddings_table
from synthvlm_dagster.scores.shard import read_scores
from synthvlm_dagster.store.chunks import read_columns
from synthvlm_dagster.store.storage import Storage

_NAMED = 3


def read_embeddings(recipe: Recipe, storage: Storage, shard: str) -> tuple[pl.Series, np.ndarray]:
    """CLIP embeddings of the images of a shard that have a score, by the model that measured it.

    They stand in files of their own beside the scores, which stay small.

    Returns:
        image_ids, sorted: a series of n strings; and float32 of shape (n, embedding size), rows of length 1 in the same
        order. Of a shard without scores both are empty; the second then has shape (0, 0).

    Raises:
        StorageError: nothing has been planned yet; or an image was scored before embeddings were kept, or its file is
            damaged: says what to materialize.
    """
    scored = read_scores(recipe, storage, shard).select("image_id").collect()["image_id"].sort()
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
