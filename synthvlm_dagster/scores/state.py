"""What has been measured of a shard's images, by the scorer, its CLIP model and each judge: read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.measuring import EMBEDDINGS, SCORES
from synthvlm_dagster.scores.naming import embeddings_table, judge_table, scores_table
from synthvlm_dagster.scores.table import SCORES_SCHEMA
from synthvlm_dagster.store.chunks import quarantine_damaged, rows_by_shard, write_chunk
from synthvlm_dagster.store.storage import Storage

_IMAGE_ID = {"image_id": pl.String()}


class Measurements:
    """The values of a shard's images, or of all shards', as far as they have been measured.

    Read once; whoever measures writes through it, and hands it on to those who describe and check the scores. A file
    that cannot be read counts as not there.

    Attributes:
        recipe: names generator, scorer and judges.
        storage: the store.
        tables: path of the table of `SCORES`, `EMBEDDINGS` and each judge. Embeddings come first: an image that has a
            score has its embedding, also after a kill.
    """

    def __init__(
        self, recipe: Recipe, storage: Storage, tables: Mapping[str, str], rows: Mapping[str, pl.DataFrame]
    ) -> None:
        self.recipe = recipe
        self.storage = storage
        self.tables = dict(tables)
        self._rows = dict(rows)

    @classmethod
    def read(
        cls,
        recipe: Recipe,
        storage: Storage,
        shard: str | None = None,
        on_damage: Callable[[str], None] | None = None,
    ) -> Measurements:
        """Read all values; of embeddings, which images have one.

        Args:
            recipe: names generator, scorer and judges.
            storage: the store.
            shard: partition key; None: all shards.
            on_damage: given where images are to be measured: damaged chunk files are renamed to `….parquet.corrupt`
                first, and this is told. Without, nothing is changed.

        Raises:
            StorageError: the store cannot be reached.
        """
        judges = recipe.scoring.judges
        tables = tables_of(recipe, shard)
        if on_damage:
            for table in tables.values():
                quarantine_damaged(storage, table, lambda message: on_damage(f"scores of shard {shard}: {message}"))
        schemas: dict[str, Mapping[str, pl.DataType]] = {
            EMBEDDINGS: _IMAGE_ID,
            SCORES: {name: SCORES_SCHEMA[name] for name in ("image_id", "clip_score", "ssim")},
        }
        columns = zip(judges.configured, judges.columns, strict=True)
        schemas |= {name: _IMAGE_ID | {column: pl.Float64()} for name, column in columns}
        rows = {name: rows_by_shard(storage, table, schemas[name]).drop("file") for name, table in tables.items()}
        return cls(recipe, storage, tables, rows)

    @property
    def ids(self) -> dict[str, set[str]]:
        """The ids of the images that each has measured, by name."""
        return {name: set(rows["image_id"]) for name, rows in self._rows.items()}

    def write(self, name: str, rows: pl.DataFrame) -> None:
        """Write a chunk of new values of a shard, and take note of them.

        Raises:
            StorageError: the file cannot be written; those already there stay.
        """
        table = self.tables[name]
        write_chunk(self.storage, table, rows)
        known = self._rows[name]
        new = rows.with_columns(shard=pl.lit(table.rpartition("/")[2])).select(known.columns)
        self._rows[name] = pl.concat([known, new.cast(known.schema)])

    def unmeasured(self, images: PlannedImages, names: Iterable[str] | None = None) -> pl.DataFrame:
        """The present images that have not been measured by all of `names`: image_id and shard, unique.

        Args:
            images: of the same shard, or of all.
            names: of `tables`; None: all.
        """
        of_image = ["image_id", "shard"]
        complete = images.present.select(of_image)
        for name in self.tables if names is None else names:
            complete = complete.join(self._rows[name], on=of_image, how="semi")
        return images.present.select(of_image).join(complete, on=of_image, how="anti")

    def scores(self, images: PlannedImages) -> pl.DataFrame:
        """Scores of the planned images that could be made, one row per image_id.

        Returns:
            image_id, shard, clip_score, ssim and a column of each judge, null where it has not looked yet.
        """
        of_image = ["image_id", "shard"]
        awaited = images.plan.join(images.failed, on=of_image, how="anti")
        scores = self._rows[SCORES].join(awaited, on=of_image, how="semi", maintain_order="left")
        scores = scores.unique("image_id", keep="first", maintain_order=True)
        for name in self.recipe.scoring.judges.configured:
            values = self._rows[name].unique("image_id", keep="first").drop("shard")
            scores = scores.join(values, on="image_id", how="left", maintain_order="left")
        return scores.select("image_id", "shard", "clip_score", "ssim", *self.recipe.scoring.judges.columns)

    @property
    def values(self) -> pl.DataFrame:
        """CLIPScore and SSIM of all images, planned or not, each once: image_id, shard, clip_score, ssim."""
        return self._rows[SCORES].unique(["image_id", "shard"], keep="first", maintain_order=True)

    def missing(self, images: PlannedImages) -> pl.DataFrame:
        """The present images without a score, or without the value of a judge: the plan's columns and image_id."""
        scores = self.scores(images)
        if columns := self.recipe.scoring.judges.columns:
            scores = scores.filter(pl.all_horizontal(pl.col(columns).is_not_null()))
        return images.present.join(scores, on="image_id", how="anti", maintain_order="left")


def tables_of(recipe: Recipe, shard: str | None = None) -> dict[str, str]:
    """Paths of the tables of a shard's measurements, or of all shards', as the models' files are now.

    Raises:
        ModelError: a model is written as a path, and nothing is there.
    """
    tables = {EMBEDDINGS: embeddings_table(recipe, shard), SCORES: scores_table(recipe, shard)}
    return tables | {name: judge_table(recipe, name, shard) for name in recipe.scoring.judges.configured}
