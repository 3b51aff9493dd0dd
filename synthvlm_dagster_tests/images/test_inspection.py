import io
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.images.inspection import inspect_shard
from synthvlm_dagster.images.plan import PLAN_TABLE, plan_attempts
from synthvlm_dagster.images.shard import generate_shard
from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.storage import Storage

SHARD = "0000"


class Painter:
    """Draws one grey level per image, or noise where the level is None."""

    def __init__(self, levels: Sequence[int | None]) -> None:
        self._levels = list(levels)

    def load(self) -> float:
        return 0.0

    def generate(self, _texts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        return [self._draw(self._levels.pop(0), seed) for seed in seeds]

    def _draw(self, level: int | None, seed: int) -> Image.Image:
        if level is None:
            return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))
        return Image.new("RGB", (16, 16), (level, level, level))


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe]) -> Recipe:
    return tiny_recipe({"images_per_chunk": 2})


def painted(recipe: Recipe, levels: Sequence[int | None]) -> Storage:
    storage = Storage(recipe.storage)
    rows = [{"caption_id": f"{number:016x}", "text": "", "shard": SHARD} for number in range(len(levels))]
    storage.write_table(PLAN_TABLE, plan_attempts(pl.DataFrame(rows), Attempts(), seed=0))
    generate_shard(recipe, storage, SHARD, Painter(levels))
    return storage


def test_sound_images_have_no_finding(recipe: Recipe) -> None:
    found = inspect_shard(recipe, painted(recipe, [None] * 4), SHARD)
    assert (found.missing, found.sampled, found.undecodable, found.flat) == (0, 4, (), ())


def test_black_and_plain_images_are_found(recipe: Recipe) -> None:
    found = inspect_shard(recipe, painted(recipe, [None, 0, 130, None]), SHARD)
    assert sorted(found.flat) == ["0000000000000001-00", "0000000000000002-00"]


def test_no_more_than_the_sample_is_opened(recipe: Recipe) -> None:
    assert inspect_shard(recipe, painted(recipe, [0] * 6), SHARD, sample=3).sampled == 3


def test_a_lost_chunk_counts_as_missing(recipe: Recipe) -> None:
    storage = painted(recipe, [None] * 4)
    storage.delete(storage.files(images_table(recipe, SHARD), ".parquet")[0])
    assert inspect_shard(recipe, storage, SHARD).missing == 2


@pytest.mark.parametrize("spoil", ["no image", "cut", "other size"])
def test_what_does_not_open_is_found(recipe: Recipe, spoil: str) -> None:
    storage = painted(recipe, [None] * 2)
    [path] = storage.files(images_table(recipe, SHARD), ".parquet")
    rows = storage.scan_files([path]).collect().to_dicts()
    content = rows[0]["image"]["bytes"]
    other = io.BytesIO()
    Image.new("RGB", (8, 8)).save(other, "png")
    spoiled = {"no image": b"nothing", "cut": content[: len(content) // 2], "other size": other.getvalue()}
    rows[0]["image"]["bytes"] = spoiled[spoil]
    table, _, name = path.rpartition("/")
    storage.write_chunk(table, name, pl.DataFrame(rows, schema=storage.scan_files([path]).collect_schema()))
    assert inspect_shard(recipe, storage, SHARD).undecodable == (rows[0]["image_id"],)
