import io
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.plan import plan_attempts
from synthvlm_dagster.images.plan import write_plan as write_plan_table
from synthvlm_dagster.images.table import encode_image
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.noise import SHARD, NoiseGenerator, noise, plain, seed_of, write_plan
from synthvlm_dagster_tests.pictures import store_images
from synthvlm_dagster_tests.shards import generate_shard, inspect_shard


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe]) -> Recipe:
    return tiny_recipe({"images_per_chunk": 2})


def painted(recipe: Recipe, levels: Sequence[int | None]) -> Storage:
    storage = Storage(recipe.storage)
    rows = [{"caption_id": f"{number:016x}", "text": "", "shard": SHARD} for number in range(len(levels))]
    write_plan_table(storage, plan_attempts(pl.DataFrame(rows), Attempts(), seed=0))
    pictures = [noise(number) if level is None else plain(level).image for number, level in enumerate(levels)]
    for planned, drawn in zip(read_plan(recipe, storage, SHARD).iter_slices(2), batched(pictures), strict=True):
        encoded = [encode_image(Image.fromarray(picture), recipe.generation) for picture in drawn]
        store_images(recipe, storage, SHARD, planned, encoded)
    return storage


def batched(pictures: list[np.ndarray]) -> list[list[np.ndarray]]:
    return [pictures[start : start + 2] for start in range(0, len(pictures), 2)]


def test_images_that_could_not_be_made_are_not_missing(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"retries": 0})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    spoiled = {seed_of(recipe, 0): plain(0), seed_of(recipe, 2): plain(9), seed_of(recipe, 8): plain(9)}
    generate_shard(recipe, storage, SHARD, NoiseGenerator(spoiled=spoiled))
    found = inspect_shard(recipe, storage, SHARD)
    assert (found.missing, found.sampled, found.flat) == (0, 3, ())
    assert found.failed == {"flat": 2, "black": 1}


def test_sound_images_have_no_finding(recipe: Recipe) -> None:
    found = inspect_shard(recipe, painted(recipe, [None] * 4), SHARD)
    assert (found.missing, found.failed, found.sampled, found.undecodable, found.flat) == (0, {}, 4, (), ())


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
