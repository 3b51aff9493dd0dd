from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.plan import PLAN_DESCRIPTIONS, PLAN_TABLE, plan_attempts, read_plan
from synthvlm_dagster.recipe import Attempts
from synthvlm_dagster.storage import Storage

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


def test_a_plan_is_read_by_shard_with_its_image_ids(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    ids = {f"{number:016x}" for number in range(10)}
    storage.write_table(PLAN_TABLE, plan_attempts(curated(ids), Attempts(per_caption=2), seed=0))
    assert read_plan(storage).height == 20
    shard = read_plan(storage, "0001")
    assert shard["image_id"].to_list() == [f"{n:016x}-{a:02d}" for n in (1, 4, 7) for a in (0, 1)]


def test_without_a_plan_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such table"):
        read_plan(Storage(str(tmp_path)))
