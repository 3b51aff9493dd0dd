"""A store with planned captions and drawn pictures in the place of generated ones: fast, and every pixel known."""

import numpy as np
import polars as pl
from PIL import Image

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.plan import PLAN_DESCRIPTIONS, write_plan
from synthvlm_dagster.images.table import EncodedImage, encode_image, image_rows, tries
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import write_chunk
from synthvlm_dagster.store.storage import Storage


def plan(storage: Storage, captions: dict[str, tuple[str, str]], attempts: int) -> None:
    """Write a plan of so many attempts per caption; captions are caption_id → (text, shard)."""
    rows = [
        (caption_id, text, attempt, shard)
        for caption_id, (text, shard) in captions.items()
        for attempt in range(attempts)
    ]
    schema = dict.fromkeys(PLAN_DESCRIPTIONS, pl.String) | {"attempt": pl.Int32}
    write_plan(storage, pl.DataFrame(rows, schema=schema, orient="row"))


def captions_in_shards(count: int, shards: list[str]) -> dict[str, tuple[str, str]]:
    """So many captions for `plan`, dealt out over the shards."""
    return {f"{number:016x}": (f"picture number {number}", shards[number % len(shards)]) for number in range(count)}


def draw(image_id: str, width: int, height: int) -> Image.Image:
    """A picture that its name decides: a slope of grey with noise on it."""
    chance = np.random.default_rng(list(image_id.encode()))
    slope = np.linspace(0, 200, width)[None, :, None]
    noise = chance.integers(0, chance.integers(2, 55), (height, width, 3))
    return Image.fromarray((slope + noise).astype(np.uint8))


def add_pictures(recipe: Recipe, storage: Storage, shard: str, rows: slice = slice(None)) -> pl.DataFrame:
    """Store the pictures of a shard's planned images, or of some, as one chunk; returns their rows of the plan."""
    planned = read_plan(recipe, storage, shard)[rows]
    generation = recipe.generation
    pictures = [draw(name, generation.width, generation.height) for name in planned["image_id"]]
    encoded = [encode_image(picture, generation) for picture in pictures]
    store_images(recipe, storage, shard, planned, encoded)
    return planned


def store_images(
    recipe: Recipe, storage: Storage, shard: str, planned: pl.DataFrame, encoded: list[EncodedImage]
) -> None:
    """Store image files as the first tries of planned images, as one chunk."""
    tried = tries(recipe, planned.with_columns(retry=pl.lit(0)))
    write_chunk(storage, images_table(recipe, shard), image_rows(recipe, tried, encoded, [False] * len(tried)))
