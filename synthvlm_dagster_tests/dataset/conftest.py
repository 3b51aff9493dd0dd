"""A finished pipeline in a temporary store, without models: captions are curated, scores and pictures are given."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.attempts.plan import read_plan, read_scores
from synthvlm_dagster.captions.curate import curate_captions
from synthvlm_dagster.captions.readers import RAW_SCHEMA
from synthvlm_dagster.dataset.made_from import Origins
from synthvlm_dagster.dataset.pairs import SELECTED, SET_ASIDE
from synthvlm_dagster.dataset.selection import select_with_reasons
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.plan import plan_attempts, write_plan
from synthvlm_dagster.images.provenance import image_provenance
from synthvlm_dagster.images.table import EncodedImage, encode_image
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import judge_table, scores_table
from synthvlm_dagster.scores.table import SCORES_SCHEMA
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import store_images

COLOURS = ("crimson", "goldenrod", "seagreen", "royalblue", "rebeccapurple", "grey")
HOSTILE_CAPTION = '<script>alert("x")</script> <img src=x onerror=alert(1)> & a "red" circle on <image> a white page'


@dataclass(frozen=True)
class Project:
    recipe: Recipe
    storage: Storage

    @property
    def selected(self) -> pl.DataFrame:
        return self.storage.scan(SELECTED).collect()

    def picture(self, image_id: str) -> bytes:
        """The file that the store has of a selected image."""
        [text] = self.selected.filter(pl.col("image_id") == image_id)["text"]
        return picture(self.recipe, image_id, text)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Builds a store of selected pairs; keyword arguments replace top-level keys of the recipe."""

    def make(captions: Sequence[str | None] | None = None, *, url: str | None = None, **changed: Any) -> Project:
        texts = captions or [*good_captions(11), HOSTILE_CAPTION, "words " * 40, None]
        settings = {
            "name": "shapes",
            "description": "Tables <b>made</b> for tests.",
            "seed": 5,
            "storage": url or str(tmp_path / "store"),
            "sources": [{"name": "given", "path": str(tmp_path / "captions.txt")}],
            "shards": 3,
            "attempts": {"per_caption": 2},
            "generation": {"model": "maker/model-of-circles", "image_format": "png", "width": 64, "height": 64},
            "scoring": {"clip": {"model": "hf-hub:maker/judge", "pretrained": None}},
            "selection": {"share": 0.5},
        }
        recipe = Recipe.model_validate(settings | changed)
        storage = Storage(recipe.storage)
        fill(recipe, storage, texts)
        return Project(recipe, storage)

    return make


def good_captions(count: int) -> list[str]:
    return [
        f"a large {COLOURS[n % len(COLOURS)]} circle, number {n}, on a plain white background" for n in range(count)
    ]


def fill(recipe: Recipe, storage: Storage, texts: Sequence[str | None]) -> None:
    raw = pl.DataFrame(
        {
            "caption_id": [
                hashlib.blake2b(f"given\0{n}\0{text}".encode(), digest_size=8).hexdigest()
                for n, text in enumerate(texts)
            ],
            "text": texts,
            "source": "given",
            "source_file": "captions.txt",
            "source_row": range(len(texts)),
            "problem": [None if text is not None else "the line is empty" for text in texts],
        },
        schema_overrides={"text": pl.String, "problem": pl.String},
    )
    not_given = {name: pl.lit(None, dtype) for name, dtype in RAW_SCHEMA.items() if name not in raw.columns}
    raw = raw.with_columns(**not_given).select(*RAW_SCHEMA)
    curated, rejected = curate_captions(raw, recipe.curation, recipe.shard_keys)
    for name, frame in (("raw", raw), ("curated", curated), ("rejected", rejected)):
        storage.write_table(f"captions/{name}", frame)
    write_plan(storage, plan_attempts(curated, recipe.attempts, recipe.seed))
    for shard in recipe.shard_keys:
        planned = read_plan(recipe, storage, shard)
        for chunk in planned.iter_slices(3):
            encoded = [
                EncodedImage(picture(recipe, image_id, text), 64, 64)
                for image_id, text in chunk.select("image_id", "text").iter_rows()
            ]
            store_images(recipe, storage, shard, chunk, encoded)
        shard_scores = planned.with_columns(
            clip_score=pl.Series([fraction(name, "clip") for name in planned["image_id"]], dtype=pl.Float64),
            ssim=pl.Series([fraction(name, "ssim") for name in planned["image_id"]], dtype=pl.Float64),
        )
        storage.write_chunk(scores_table(recipe, shard), "chunk-0.parquet", shard_scores.select(*SCORES_SCHEMA))
        for judge, column in zip(recipe.scoring.judges.configured, recipe.scoring.judges.columns, strict=True):
            values = shard_scores.select("image_id", judged(column).alias(column))
            storage.write_chunk(judge_table(recipe, judge, shard), "chunk-0.parquet", values)
    chosen = select_with_reasons(read_scores(recipe, storage), recipe.selection, recipe.seed)
    storage.write_table(SET_ASIDE, chosen.set_aside)
    storage.write_table(SELECTED, chosen.pairs, Origins(recipe, storage).of("selected_pairs"))


def judged(column: str) -> pl.Expr:
    """A judge's value of each image, in [0, 1), which image_id and the judge's column decide."""
    return pl.col("image_id").map_elements(lambda image_id: fraction(image_id, column), return_dtype=pl.Float64)


def fraction(image_id: str, salt: str) -> float:
    """A number in [0, 1) that image_id and salt alone decide."""
    digest = hashlib.blake2b(f"{salt}\0{image_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def picture(recipe: Recipe, image_id: str, text: str) -> bytes:
    """A plain picture, of a colour that image_id decides, marked as synthetic."""
    shade = tuple(int(256 * fraction(image_id, channel)) for channel in "rgb")
    provenance = image_provenance(recipe.generation, generator_name(recipe), image_id, text, recipe.seed)
    return encode_image(Image.new("RGB", (64, 64), shade), recipe.generation, provenance).content
