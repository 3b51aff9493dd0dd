import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.attempts.nights import add_nights_attempts, nights_attempts_table
from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.plan import PLAN_DESCRIPTIONS, PLAN_TABLE, first_attempts, plan_attempts, write_plan
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.remote_files import RemoteFile
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
    write_plan(storage, plan_attempts(curated(ids), recipe.attempts, seed=0))
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


def test_nights_attempts_belong_to_the_plan(recipe: Recipe, storage: Storage) -> None:
    add_nights_attempts(recipe, storage, "0001", added((4, 2)))
    add_nights_attempts(recipe, storage, "0001", added((4, 2)))
    add_nights_attempts(recipe, storage, "0001", added((4, 3), (7, 2)))
    shard = read_plan(recipe, storage, "0001")
    assert names(shard) == [(1, 0), (1, 1), (4, 0), (4, 1), (4, 2), (4, 3), (7, 0), (7, 1), (7, 2)]
    assert shard["text"].to_list() == [f"caption {name}" for name in shard["caption_id"]]
    whole = read_plan(recipe, storage)
    assert whole.height == 23
    assert whole.columns == shard.columns
    assert len(storage.files(nights_attempts_table(recipe, "0001"))) == 2


def test_nights_attempts_are_of_planned_captions_and_of_one_generator(
    tiny_recipe: Callable[..., Recipe], recipe: Recipe, storage: Storage
) -> None:
    add_nights_attempts(recipe, storage, "0001", added((4, 2), (4, 3), (99, 2)))
    assert read_plan(recipe, storage).height == 22, "a caption that is no longer planned is left out"
    for changed, images in (
        ({"attempts": {"min": 2, "max": 3, "until": 0.8}}, 22),
        ({"attempts": {"per_caption": 2}}, 22),
        ({"seed": recipe.seed + 1}, 20),
    ):
        other = tiny_recipe(**{"attempts": recipe.attempts.model_dump(exclude_none=True), "shards": 3} | changed)
        assert read_plan(other, storage).height == images, changed


def test_a_damaged_file_of_nights_attempts_leaves_no_gap(recipe: Recipe, storage: Storage) -> None:
    add_nights_attempts(recipe, storage, "0001", added((4, 2), (7, 2)))
    [first] = storage.files(nights_attempts_table(recipe, "0001"))
    add_nights_attempts(recipe, storage, "0001", added((4, 3)))
    storage.write_bytes(first, storage.read_bytes(first)[:40])
    assert names(read_plan(recipe, storage, "0001")) == [(1, 0), (1, 1), (4, 0), (4, 1), (4, 2), (4, 3), (7, 0), (7, 1)]


SHARDS = 40


def large_plan(storage: Storage, captions: int = 40_000) -> pl.DataFrame:
    """Written by shard; with texts that do not compress, so that it is some megabytes."""
    texts = [hashlib.blake2b(str(number).encode()).hexdigest() for number in range(captions)]
    rows = {"caption_id": [text[:16] for text in texts], "text": texts}
    shards = pl.Series([f"{number % SHARDS:04d}" for number in range(captions)])
    plan = plan_attempts(pl.DataFrame(rows).with_columns(shard=shards), Attempts(), seed=0)
    write_plan(storage, plan)
    return plan


def test_a_shard_reads_its_own_row_group_alone(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    plan = large_plan(storage)
    file = pq.ParquetFile(storage.url("plans/attempts/table.parquet"))
    assert file.num_row_groups == SHARDS
    [expected] = plan.filter(pl.col("shard") == "0007").partition_by("shard")
    start = file.metadata.row_group(7).column(0).dictionary_page_offset
    content = bytearray(Path(storage.url("plans/attempts/table.parquet")).read_bytes())
    ends = file.metadata.row_group(8).column(0).dictionary_page_offset
    footer = len(content) - file.metadata.serialized_size - 8
    content[4:start] = bytes(start - 4)
    content[ends:footer] = bytes(footer - ends)
    Path(storage.url("plans/attempts/table.parquet")).write_bytes(content)
    assert first_attempts(storage, "0007").drop("image_id").equals(expected), "the others cannot be read any more"
    with pytest.raises(StorageError, match="damaged"):
        first_attempts(storage, "0008")


def test_a_shard_asks_an_object_store_for_its_own_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage("memory://test_plan_by_shard")
    plan = large_plan(storage)
    size = storage.size("plans/attempts/table.parquet")
    asked = []
    readinto = RemoteFile.readinto

    def counted(file: RemoteFile, buffer: bytearray) -> int:
        asked.append(count := readinto(file, buffer))
        return count

    monkeypatch.setattr(RemoteFile, "readinto", counted)
    rows = first_attempts(storage, "0007").drop("image_id")
    assert rows.equals(plan.filter(pl.col("shard") == "0007"))
    assert size > 2e6
    assert sum(asked) < size / SHARDS + 100_000, "its row group, and the end of the file"
    assert len(asked) <= 4


def test_a_plan_in_another_layout_is_read_all_the_same(recipe: Recipe, storage: Storage) -> None:
    plan = first_attempts(storage)
    storage.write_table(PLAN_TABLE, plan.drop("image_id").reverse())
    assert first_attempts(storage).equals(plan)
    assert first_attempts(storage, "0001").equals(plan.filter(pl.col("shard") == "0001"))
    assert first_attempts(storage, "0009").is_empty()


def test_without_a_plan_there_is_nothing_to_read(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such table"):
        read_plan(recipe, Storage(str(tmp_path / "empty")))
