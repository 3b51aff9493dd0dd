"""How often the plan and the ids of a shard's images are read: once by each asset, whatever it does with them."""

import logging
from collections import Counter
from collections.abc import Callable, Generator
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.images.assets import image_work
from synthvlm_dagster.images.plan import PLAN_TABLE
from synthvlm_dagster.operations.overview import print_plan
from synthvlm_dagster.operations.run import Pipeline
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import Made
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import score_work
from synthvlm_dagster.store import chunks
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import captions_in_shards, plan

SHARDS = ["0000", "0001"]


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    clip = {"model": str(tiny_clip_folder), "pretrained": None}
    return tiny_recipe(
        {"images_per_chunk": 2}, scoring={"clip": clip, "ssim": {"reduced_size": 10}, "device": "cpu"}, shards=2
    )


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts readings of the plan, and of columns of each chunk file."""
    count: Counter[str] = Counter()
    rows_with, scan, read_columns = Storage.rows_with, Storage.scan, chunks.read_columns

    def counted_rows_with(self: Storage, table: str, column: str, value: str) -> Any:
        count[f"{table} of {value}"] += 1
        return rows_with(self, table, column, value)

    def counted_scan(self: Storage, table: str) -> Any:
        count[table] += 1
        return scan(self, table)

    def counted_columns(storage: Storage, path: str, columns: list[str]) -> Any:
        count[path] += 1
        return read_columns(storage, path, columns)

    monkeypatch.setattr(Storage, "rows_with", counted_rows_with)
    monkeypatch.setattr(Storage, "scan", counted_scan)
    monkeypatch.setattr(chunks, "read_columns", counted_columns)
    return count


def done(making: Generator[Any, None, Made]) -> Made:
    """Make a shard, and check it."""
    while True:
        try:
            next(making)
        except StopIteration as end:
            made: Made = end.value
            assert made.check is not None
            assert made.check().passed
            return made


def of(reads: Counter[str], folder: str) -> set[int]:
    return {count for path, count in reads.items() if path.startswith(f"{folder}/")}


def test_each_asset_reads_a_shard_once(recipe: Recipe, reads: Counter[str]) -> None:
    dataset = Dataset(recipe)
    plan(dataset.storage, captions_in_shards(8, SHARDS), attempts=1)
    reader, log = ShardReader(recipe, lambda: dataset.storage), dg.get_dagster_logger()
    log.setLevel(logging.WARNING)
    images, scores = image_work(dataset, reader.images, log), score_work(dataset, reader.scores, log)

    for shard in SHARDS:
        assert done(images.make(shard)).metadata["images_made_now"] == 4
    assert [reads.pop(f"{PLAN_TABLE} of {shard}") for shard in SHARDS] == [1, 1]
    assert not reads, "what it has written itself it need not read"

    for shard in SHARDS:
        assert done(scores.make(shard)).metadata["images_scored_now"] == 4
    assert [reads.pop(f"{PLAN_TABLE} of {shard}") for shard in SHARDS] == [1, 1]
    assert of(reads, "images") == {1}
    assert set(reads) == set(dataset.storage.files("images"))

    reads.clear()
    for shard in SHARDS:
        assert done(images.make(shard)).metadata["images_made_now"] == 0
        assert done(scores.make(shard)).metadata["images_scored_now"] == 0
    assert [reads.pop(f"{PLAN_TABLE} of {shard}") for shard in SHARDS] == [2, 2]
    assert (of(reads, "images"), of(reads, "scores"), of(reads, "embeddings")) == ({2}, {1}, {1})


def test_the_plan_of_a_run_reads_all_shards_once(recipe: Recipe, reads: Counter[str]) -> None:
    dataset = Dataset(recipe)
    plan(dataset.storage, captions_in_shards(8, SHARDS), attempts=1)
    reader, log = ShardReader(recipe, lambda: dataset.storage), dg.get_dagster_logger()
    for shard in SHARDS:
        done(image_work(dataset, reader.images, log).make(shard))
    reads.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(build_definitions(recipe).get_repository_def(), instance, dataset)
        print_plan(pipeline, Console(file=StringIO()))
    assert reads[PLAN_TABLE] == 1
    assert of(reads, "images") == {1}
