"""Where the images lie in the space of CLIP, in two dimensions: selected, left out, and those of other datasets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.embeddings import read_embeddings
from synthvlm_dagster.scores.references import read_reference, read_summary
from synthvlm_dagster.store.storage import Storage

LEFT_OUT, SELECTED = "left out", "selected"

_POINTS_PER_GROUP = 400
_LONGEST_CAPTION = 90


@dataclass(frozen=True)
class MapPoint:
    """One image: its place, its group and its caption, shortened."""

    x: float
    y: float
    group: str
    caption: str


@dataclass(frozen=True)
class EmbeddingMap:
    """Images on the two axes along which they differ most.

    Attributes:
        points: group by group.
        sizes: points of each group: left out, selected, then the names of other datasets; only those with points.
        explained: share of the variance that each of the two axes has, in [0, 1].
    """

    points: tuple[MapPoint, ...]
    sizes: dict[str, int]
    explained: tuple[float, float]


def gather_embedding_map(recipe: Recipe, storage: Storage, scored: pl.LazyFrame) -> EmbeddingMap | None:
    """Principal components of the CLIP embeddings of a fair sample of each group, at most 400 images of each.

    The sample is the first by shard and image_id, which are hashes; of other datasets the first by image_id.

    Args:
        recipe: names the scorer and the other datasets.
        storage: the store of the embeddings.
        scored: as `scored_pairs` gives it.

    Returns:
        None when there are fewer than three images, or the embeddings of the sampled shards are not kept.
    """
    frames, rows = [], []
    for group, condition in ((LEFT_OUT, pl.col("rank").is_null()), (SELECTED, pl.col("rank").is_not_null())):
        first = scored.filter(condition).bottom_k(_POINTS_PER_GROUP, by=["shard", "image_id"])
        sample = first.select("image_id", "shard", "text").collect().sort("shard", "image_id")
        for shard in sample.partition_by("shard"):
            try:
                ids, vectors = read_embeddings(recipe, storage, shard["shard"][0], shard["image_id"])
            except StorageError:
                return None
            place = pl.DataFrame({"image_id": ids}).with_row_index("place")
            found = shard.join(place, on="image_id", how="inner", maintain_order="left")
            frames.append(found.select("text", group=pl.lit(group)))
            rows.append(vectors[found["place"].to_numpy()])
    samples = {dataset.name: dataset.sample for dataset in recipe.comparisons}
    for name, table in read_summary(recipe, storage).filter(pl.col("pairs") > 0).select("name", "table").iter_rows():
        pairs = read_reference(storage, table, samples[name]).head(_POINTS_PER_GROUP)
        frames.append(pairs.select("text", group=pl.lit(name)))
        rows.append(np.array(pairs["embedding"].to_list(), np.float32))
    if not rows or sum(map(len, rows)) < 3:
        return None
    places, explained = principal_components(np.concatenate(rows))
    captions = pl.concat(frames)
    points = tuple(
        MapPoint(float(x), float(y), group, _shortened(text))
        for (x, y), (text, group) in zip(places, captions.iter_rows(), strict=True)
    )
    sizes = dict(captions["group"].rle().struct.unnest().select("value", "len").iter_rows())
    return EmbeddingMap(points, sizes, explained)


def principal_components(rows: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Project rows onto the two directions in which they vary most.

    Args:
        rows: float, shape (n, d), n ≥ 2, d ≥ 2.

    Returns:
        float64 of shape (n, 2), and the share of the variance of each of the two columns. The signs are such that the
        largest loading of each direction is positive: equal rows give equal places.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    first_two = directions[:, [-1, -2]]
    largest = np.abs(first_two).argmax(axis=0)
    first_two = first_two * np.sign(first_two[largest, [0, 1]])
    total = max(float(variances.sum()), 1e-12)
    return centred @ first_two, (float(variances[-1]) / total, max(float(variances[-2]), 0.0) / total)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CAPTION else f"{text[:_LONGEST_CAPTION]}…"
