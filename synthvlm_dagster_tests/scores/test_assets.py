"""image_scores in real Dagster runs: one shard, several shards, and a shard whose image is broken."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores
from synthvlm_dagster.scores.checks import evaluate_scores, sound_scores
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import add_pictures, captions_in_shards, plan

SHARDS = ["0000", "0001"]
SCORES = dg.AssetKey("image_scores")


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    scoring = {
        "clip": {"model": str(tiny_clip_folder), "pretrained": None},
        "ssim": {"reduced_size": 10},
        "device": "cpu",
    }
    return tiny_recipe(generation={"image_format": "png"}, scoring=scoring, shards=4)


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    storage = Storage(recipe.storage)
    plan(storage, captions_in_shards(8, SHARDS), attempts=1)
    for shard in SHARDS:
        add_pictures(recipe, storage, shard)
    return storage


def score(
    recipe: Recipe, storage: Storage, shards: list[str], instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    dataset = Dataset(recipe)
    read = ShardReader(recipe, lambda: storage).scores
    definitions = dg.Definitions(assets=[image_scores(dataset, read)], asset_checks=[sound_scores(dataset, read)])
    job = definitions.resolve_implicit_global_asset_job_def()
    if len(shards) == 1:
        return job.execute_in_process(instance=instance, partition_key=shards[0], raise_on_error=False)
    bounds = {"dagster/asset_partition_range_start": shards[0], "dagster/asset_partition_range_end": shards[-1]}
    return job.execute_in_process(instance=instance, tags=bounds, raise_on_error=False)


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str | None, bool]:
    return {event.partition: event.passed for event in result.get_asset_check_evaluations()}


def test_one_shard(recipe: Recipe, storage: Storage) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = score(recipe, storage, SHARDS[:1], instance)
        assert result.success
        assert evaluations(result) == {SHARDS[0]: True}
        assert instance.get_materialized_partitions(SCORES) == {SHARDS[0]}
        event = instance.get_latest_materialization_event(SCORES)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    scores = read_scores(recipe, storage, SHARDS[0]).collect()
    assert metadata["dagster/row_count"].value == metadata["images_scored_now"].value == scores.height == 4
    assert metadata["clip_score_mean"].value == pytest.approx(scores["clip_score"].mean())
    assert metadata["ssim_max"].value == scores["ssim"].max()
    assert {column.name for column in metadata["dagster/column_schema"].schema.columns} == set(scores.columns)
    histogram = metadata["ssim_histogram"].value
    assert histogram.startswith("```")
    assert len(histogram.encode()) < 15_000


def test_several_shards_in_one_run_then_nothing_left_to_do(recipe: Recipe, storage: Storage) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = score(recipe, storage, SHARDS, instance)
        assert result.success
        assert evaluations(result) == dict.fromkeys(SHARDS, True)
        assert instance.get_materialized_partitions(SCORES) == set(SHARDS)
        files = storage.files("scores")
        assert score(recipe, storage, SHARDS, instance).success
        assert storage.files("scores") == files


def test_a_broken_image_fails_its_shard_and_no_other(recipe: Recipe, storage: Storage) -> None:
    [file] = storage.files(images_table(recipe, SHARDS[0]))
    rows = storage.scan_files([file]).collect()
    broken = [image | {"bytes": image["bytes"][:60]} for image in rows["image"]]
    rows = rows.with_columns(pl.Series("image", broken, dtype=rows.schema["image"]))
    storage.write_chunk(images_table(recipe, SHARDS[0]), file.rpartition("/")[2], rows)
    with dg.DagsterInstance.ephemeral() as instance:
        result = score(recipe, storage, SHARDS, instance)
        assert not result.success
        assert instance.get_materialized_partitions(SCORES) == {SHARDS[1]}
    [failure] = [event for event in result.all_node_events if event.is_step_failure]
    message = failure.step_failure_data.user_failure_data.description
    assert storage.url(file) in message
    assert SHARDS[0] in message


def test_a_shard_without_images(recipe: Recipe, storage: Storage) -> None:
    empty = recipe.shard_keys[-1]
    with dg.DagsterInstance.ephemeral() as instance:
        result = score(recipe, storage, [empty], instance)
        assert result.success
        assert evaluations(result) == {empty: True}
        assert instance.get_materialized_partitions(SCORES) == {empty}


def test_the_check_fails_for_missing_and_impossible_scores(recipe: Recipe, storage: Storage) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert score(recipe, storage, SHARDS[:1], instance).success
        table = scores_table(recipe, SHARDS[0])
        [file] = storage.files(table)
        bad = storage.scan_files([file]).collect().head(3)
        bad = bad.with_columns(pl.Series("clip_score", [0.5, float("nan"), 1.5]), pl.Series("ssim", [0.9, 0.9, 0.9]))
        storage.write_chunk(table, file.rpartition("/")[2], bad)
        evaluation = evaluate_scores(Dataset(recipe), *ShardReader(recipe, lambda: storage).scores(SHARDS[0]))
    assert evaluation.partition == SHARDS[0]
    assert not evaluation.passed
    assert "1 images lack a score" in evaluation.description
    assert "2 images have impossible scores (NaN or out of range)" in evaluation.description


def test_the_check_warns_of_an_ssim_that_scikit_image_measures_otherwise(recipe: Recipe, storage: Storage) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert score(recipe, storage, SHARDS[:1], instance).success
        sound = evaluate_scores(Dataset(recipe), *ShardReader(recipe, lambda: storage).scores(SHARDS[0]))
        table = scores_table(recipe, SHARDS[0])
        [file] = storage.files(table)
        moved = storage.scan_files([file]).with_columns(pl.col("ssim") - 1e-5).collect()
        storage.write_chunk(table, file.rpartition("/")[2], moved)
        doubted = evaluate_scores(Dataset(recipe), *ShardReader(recipe, lambda: storage).scores(SHARDS[0]))
    assert sound.passed
    assert not doubted.passed
    assert doubted.severity == dg.AssetCheckSeverity.WARN
    first, second = sorted(moved["image_id"])[:2]
    assert f"scikit-image measures another SSIM of {first}, {second}" in doubted.description
