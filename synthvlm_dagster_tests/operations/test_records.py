"""What stands in the store and Dagster does not know: recorded, and not made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.operations.records import RECORDED_AGAIN
from synthvlm_dagster.operations.run import Pipeline, Step
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.freshness import OneLook
from synthvlm_dagster.orchestration.shards import DATA_VERSION_TAG
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster_tests.dataset.made_project import changed_recipe, give_images_and_scores, make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_project(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "moved"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(recipe: Recipe, instance: dg.DagsterInstance) -> list[str]:
    """Make what is missing; the assets of each step."""
    steps: list[Step] = []
    repository = build_definitions(recipe).get_repository_def()
    pipeline = Pipeline(repository, instance, Dataset(recipe))
    outcome = pipeline.run_missing(set(pipeline.asset_keys()), None, {}, steps.append)
    assert outcome.succeeded
    return [key.to_user_string() for step in steps for key in step.assets]


def out_of_sync(recipe: Recipe, instance: dg.DagsterInstance) -> set[str]:
    """What the UI marks as Unsynced, or as never materialized."""
    graph = build_definitions(recipe).get_repository_def().asset_graph
    found = set()
    for key in graph.materializable_asset_keys:
        partitions = recipe.shard_keys if graph.get(key).is_partitioned else [None]
        for partition in partitions:
            resolver = CachingStaleStatusResolver(instance, graph, OneLook(instance))
            if resolver.get_status(key, partition) != StaleStatus.FRESH:
                found.add(f"{key.to_user_string()} {partition or ''}")
    return found


def events(instance: dg.DagsterInstance) -> int:
    return sum(len(instance.fetch_materializations(key, limit=1000).records) for key in instance.all_asset_keys())


def test_a_lost_database_costs_history_alone(project: Path, instance: dg.DagsterInstance) -> None:
    recipe = changed_recipe(project)
    assert run(recipe, instance) == []
    assert out_of_sync(recipe, instance) == set()
    [record] = instance.fetch_materializations(dg.AssetKey("selected_pairs"), limit=10).records
    assert record.asset_materialization is not None
    assert RECORDED_AGAIN in record.asset_materialization.metadata
    written = events(instance)
    assert run(recipe, instance) == []
    assert events(instance) == written


def test_a_recipe_that_comes_back_is_recorded_again_and_its_shards_are_not_made(
    project: Path, instance: dg.DagsterInstance
) -> None:
    recipe, other = changed_recipe(project), changed_recipe(project, generation__num_inference_steps=2)
    assert run(recipe, instance) == []
    give_images_and_scores(other, Dataset(other).storage)
    for changed in (other, recipe):
        assert out_of_sync(changed, instance)
        made = run(changed, instance)
        assert "selected_pairs" in made
        assert "llava_dataset" in made
        assert {"generated_images", "image_scores", "planned_attempts"}.isdisjoint(made)
        assert out_of_sync(changed, instance) == set()
        assert run(changed, instance) == []


def test_a_plan_that_leaves_a_shard_as_it_was_leaves_it_in_sync(project: Path, instance: dg.DagsterInstance) -> None:
    recipe = changed_recipe(project)
    run(recipe, instance)
    captions = (project / "captions.txt").read_text().splitlines()
    (project / "captions.txt").write_text("\n".join(captions[1:]) + "\n")
    made = run(recipe, instance)
    assert "planned_attempts" in made
    assert "generated_images" not in made
    assert out_of_sync(recipe, instance) == set()
    kept = Dataset(recipe).storage.read_bytes("dataset/llava/synthvlm.json").decode()
    assert captions[0] not in kept
    assert run(recipe, instance) == []


def test_what_comes_out_as_it_was_ends_there(project: Path, instance: dg.DagsterInstance) -> None:
    recipe = changed_recipe(project)
    run(recipe, instance)
    (project / "words.txt").write_text("zounds\ngadzooks\n")
    assert run(recipe, instance) == ["curated_captions", "rejected_captions"]
    assert out_of_sync(recipe, instance) == set()


def newest(instance: dg.DagsterInstance, name: str, shard: str | None = None) -> dg.AssetMaterialization:
    of_shard = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[shard] if shard else None)
    event = instance.fetch_materializations(of_shard, limit=1).records[0].asset_materialization
    assert event is not None
    return event


def test_what_is_recorded_again_keeps_the_figures_of_its_making(project: Path, instance: dg.DagsterInstance) -> None:
    recipe = changed_recipe(project)
    run(recipe, instance)
    figures = {shard: number / 10 for number, shard in enumerate(recipe.shard_keys)}
    before = {shard: newest(instance, "image_scores", shard) for shard in figures}
    for shard, event in before.items():
        made = event._replace(metadata={"clip_score_mean": dg.MetadataValue.float(figures[shard])})
        instance.report_runless_asset_event(made)
    captions = (project / "captions.txt").read_text().splitlines()
    (project / "captions.txt").write_text("\n".join(captions[1:]) + "\n")
    run(recipe, instance)
    stands = 0
    for shard, event in before.items():
        now = newest(instance, "image_scores", shard)
        assert RECORDED_AGAIN in now.metadata
        if now.tags and event.tags and now.tags[DATA_VERSION_TAG] == event.tags[DATA_VERSION_TAG]:
            assert now.metadata["clip_score_mean"].value == figures[shard]
            stands += 1
        else:
            assert "clip_score_mean" not in now.metadata
    assert 0 < stands < len(before)
