"""What the scorer's CLIP model saw in each image: unit embeddings, kept so that no one has to look again."""

from __future__ import annotations

import numpy as np
import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import embeddings_table
from synthvlm_dagster.scores.shard import read_scores
from synthvlm_dagster.storage import Storage

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
    paths = storage.files(table, ".parquet")
    again = f"Materialize image_scores for shard {shard} again: it looks anew at those images alone"
    try:
        rows = storage.scan_files(paths).collect() if paths else None
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"{storage.url(table)}: a file of embeddings is damaged: {error}. {again}") from error
    found = rows.unique("image_id", keep="first") if rows is not None else pl.DataFrame({"image_id": []})
    lacking = scored.filter(~scored.is_in(found["image_id"].cast(pl.String).implode()))
    if rows is None or not lacking.is_empty():
        named = ", ".join(lacking.head(_NAMED)) + (", …" if len(lacking) > _NAMED else "")
        raise StorageError(
            f"{storage.url(table)}: {len(lacking)} of {len(scored)} scored images have no embedding ({named}), because "
            f"they were scored before embeddings were kept. {again}"
        )
    kept = found.join(scored.to_frame(), on="image_id", how="semi").sort("image_id")
    return kept["image_id"], kept["embedding"].to_numpy()
