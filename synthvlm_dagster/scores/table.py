"""The table of scores: its columns, and reading it."""

from __future__ import annotations

import polars as pl

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.recipe import JUDGE_SETTINGS, Recipe
from synthvlm_dagster.scores.naming import judge_table, scores_table
from synthvlm_dagster.store.chunks import shard_of
from synthvlm_dagster.store.storage import Storage

SCORES_SCHEMA = pl.Schema(
    {
        "image_id": pl.String,
        "caption_id": pl.String,
        "attempt": pl.Int32,
        "shard": pl.String,
        "text": pl.String,
        "clip_score": pl.Float64,
        "ssim": pl.Float64,
    }
)
SCORES_COLUMNS = {
    "image_id": "Identity of the image: caption_id and attempt.",
    "caption_id": "Identity of the caption.",
    "attempt": "Which of the caption's images this is, from 0.",
    "shard": "Partition that the caption belongs to.",
    "text": "The caption.",
    "clip_score": "Cosine of image and prefixed caption, clipped at 0: in [0, 1].",
    "ssim": "Similarity of the image with itself after the round trip through the small size: in [-1, 1].",
    **{judge.column: f"Held-out judge: {judge.measures}." for judge in JUDGE_SETTINGS.values()},
}


def scores_schema(recipe: Recipe) -> pl.Schema:
    """Columns that `read_scores` gives: `SCORES_SCHEMA` and one Float64 column per judge of the recipe."""
    return pl.Schema({**SCORES_SCHEMA, **dict.fromkeys(recipe.scoring.judges.columns, pl.Float64())})


def scan_scores(recipe: Recipe, storage: Storage, awaited: pl.DataFrame, shard: str | None = None) -> pl.LazyFrame:
    """Scores of images by the recipe's scorer and judges, of one shard or of all, lazily.

    Args:
        recipe: names scorer and judges.
        storage: the store.
        awaited: the images that count: image_id and shard. Scores of others are left out, and those that stand in
            another shard.
        shard: partition key; None: all shards.

    Returns:
        One row per image_id that has CLIPScore and SSIM, with the columns of `scores_schema`; a judge's is null where
        it has not looked yet. No row when nothing is scored yet.
    """
    paths = _files(recipe, storage, scores_table(recipe, shard))
    if not paths:
        return pl.LazyFrame(schema=scores_schema(recipe))
    # Two runs at once may each have measured an image: the same one of the two counts at every reading.
    scores = (
        storage.scan_files(paths)
        .join(awaited.lazy().select("image_id", "shard"), on=["image_id", "shard"], how="semi")
        .unique("image_id", keep="first")
    )
    judges = recipe.scoring.judges
    for judge, column in zip(judges.configured, judges.columns, strict=True):
        if found := _files(recipe, storage, judge_table(recipe, judge, shard)):
            values = storage.scan_files(found).unique("image_id", keep="first")
            scores = scores.join(values, on="image_id", how="left", maintain_order="left")
        else:
            scores = scores.with_columns(pl.lit(None, pl.Float64).alias(column))
    return scores


def damaged_scores(error: Exception) -> StorageError:
    """What a user is told where a file of scores cannot be read."""
    return StorageError(
        f"a file of scores is damaged: {error}. Materialize image_scores of its shard again: it measures anew what "
        "cannot be read"
    )


def _files(recipe: Recipe, storage: Storage, folder: str) -> list[str]:
    """The files of the recipe's shards in a folder or below it, in order."""
    shards = set(recipe.shard_keys)
    return [path for path in storage.files(folder, ".parquet") if shard_of(path) in shards]
