from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.plan import (
    PLAN_DESCRIPTIONS,
    PLAN_TABLE,
    add_attempts,
    added_attempts_table,
    plan_attempts,
    read_plan,
)
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.storage import Storage

IDS = st.sets(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=30)


def curated(ids: set[str]) -> pl.DataFrame:
    rows = [
        {"caption_id": name, "text": f"caption {name}", "shard": f"{int(name, 16) % 3:04d}", "num_words": 2}
        for name in sorted(ids)
    ]
    return pl.DataFrame(
        rows, schema={"caption_id": pl.String, "text": pl.String, "shard": pl.String, "num_words": pl.Int64}
    )


@given(IDS, st.integers(1, 5))
def test_every_caption_gets_its_attempts(ids: set[str], attempts: int) -> None:
    plan = plan_attempts(curated(ids).lazy(), Attempts(per_caption=attempts), seed=0)
    assert plan.schema == {"caption_id": pl.String, "text": pl.String, "attempt": pl.Int32, "shard": pl.String}
    assert plan.columns == list(PLAN_DESCRIPTIONS)
    expected = [
        (name, f"caption {name}", attempt, f"{int(name, 16) % 3:04d}")
        for name in sorted(ids)
        for attempt in range(attempts)
    ]
    assert plan.rows() == expected


@given(IDS, st.integers(1, 30), st.integers(0, 10), st.integers(0, 5))
def test_a_smaller_choice_lies_within_a_larger_one(ids: set[str], count: int, more: int, seed: int) -> None:
    def choice(number: int) -> set[str]:
        return set(plan_attempts(curated(ids), Attempts(max_captions=number), seed)["caption_id"])

    assert len(choice(count)) == min(count, len(ids))
    assert choice(count) <= choice(count + more) <= ids


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_captions() -> None:
    ids = {f"{number:016x}" for number in range(200)}
    attempts = Attempts(max_captions=20)
    plan = plan_attempts(curated(ids), attempts, seed=1)
    assert plan.equals(plan_attempts(curated(ids).reverse(), attempts, seed=1))
    assert not plan.equals(plan_attempts(curated(ids), attempts, seed=2))
    shares = plan["shard"].value_counts()["count"]
    assert len(shares) == 3
    assert shares.max() < 20


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe]) -> Recipe:
    return tiny_recipe(attempts={"min": 2, "max": 4, "until": 0.8}, shards=3)


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    storage = Storage(recipe.storage)
    ids = {f"{number:016x}" for number in range(10)}
    storage.write_table(PLAN_TABLE, plan_attempts(curated(ids), recipe.attempts, seed=0))
    return storage


def added(*attempts: tuple[int, int]) -> pl.DataFrame:
    rows = [(f"{number:016x}", attempt) for number, attempt in attempts]
    return pl.DataFrame(rows, schema={"caption_id": pl.String, "attempt": pl.Int32}, orient="row")


def names(plan: pl.DataFrame) -> list[tuple[int, int]]:
    return [(int(caption, 16), attempt) for caption, attempt in plan.select("caption_id", "attempt").iter_rows()]


def test_a_plan_is_read_by_shard_with_its_image_ids(recipe: Recipe, storage: Storage) -> None:
    assert read_plan(recipe, storage).height == 20
    shard = read_plan(recipe, storage, "0001")
    assert shard["image_id"].to_list() == [f"{n:016x}-{a:02d}" for n in (1, 4, 7) for a in (0, 1)]


def test_added_attempts_belong_to_the_plan(recipe: Recipe, storage: Storage) -> None:
    add_attempts(recipe, storage, "0001", added((4, 2)))
    add_attempts(recipe, storage, "0001", added((4, 2)))
    add_attempts(recipe, storage, "0001", added((4, 3), (7, 2)))
    shard = read_plan(recipe, storage, "0001")
    assert names(shard) == [(1, 0), (1, 1), (4, 0), (4, 1), (4, 2), (4, 3), (7, 0), (7, 1), (7, 2)]
    assert shard["text"].to_list() == [f"caption {name}" for name in shard["caption_id"]]
    whole = read_plan(recipe, storage)
    assert whole.height == 23
    assert whole.columns == shard.columns
    assert len(storage.files(added_attempts_table(recipe, "0001"))) == 2


def test_only_what_the_recipe_can_ask_for_is_planned(
    tiny_recipe: Callable[..., Recipe], recipe: Recipe, storage: Storage
) -> None:
    add_attempts(recipe, storage, "0001", added((4, 2), (4, 3), (99, 2)))
    assert read_plan(recipe, storage).height == 22, "a caption that is no longer planned is left out"
    for changed, images in (
        ({"attempts": {"min": 2, "max": 3, "until": 0.8}}, 21),
        ({"attempts": {"per_caption": 2}}, 20),
        ({"seed": recipe.seed + 1}, 20),
    ):
        other = tiny_recipe(**{"attempts": recipe.attempts.model_dump(exclude_none=True), "shards": 3} | changed)
        assert read_plan(other, storage).height == images, changed


def test_a_damaged_file_of_added_attempts_leaves_no_gap(recipe: Recipe, storage: Storage) -> None:
    add_attempts(recipe, storage, "0001", added((4, 2), (7, 2)))
    [first] = storage.files(added_attempts_table(recipe, "0001"))
    add_attempts(recipe, storage, "0001", added((4, 3)))
    storage.write_bytes(first, storage.read_bytes(first)[:40])
    assert names(read_plan(recipe, storage, "0001")) == [(1, 0), (1, 1), (4, 0), (4, 1), (4, 2), (4, 3), (7, 0), (7, 1)]


def test_without_a_plan_there_is_nothing_to_read(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such table"):
        read_plan(recipe, Storage(str(tmp_path / "empty")))
