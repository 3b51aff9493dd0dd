from collections.abc import Callable

import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_plan, read_scores
from synthvlm_dagster.dataset.coverage import complete_scores
from synthvlm_dagster.dataset.report.facts import gather_facts
from synthvlm_dagster.errors import IncompleteShardsError
from synthvlm_dagster.images.naming import failed_images_table, images_table
from synthvlm_dagster.images.table import failed_rows, tries
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.store.chunks import write_chunk
from synthvlm_dagster_tests.dataset.conftest import Project
from synthvlm_dagster_tests.shards import missing_scores, shards_with_work


def lose(project: Project, shard: str) -> pl.DataFrame:
    """Take a shard's first chunk of images out of the store, and their scores; returns the images' rows of the plan."""
    recipe, storage = project.recipe, project.storage
    path = storage.files(images_table(recipe, shard))[0]
    ids = storage.scan_files([path]).select("image_id").collect()["image_id"]
    storage.delete(path)
    scores = read_scores(recipe, storage, shard).filter(~pl.col("image_id").is_in(ids.implode())).collect()
    storage.write_chunk(scores_table(recipe, shard), "chunk-0.parquet", scores)
    return read_plan(recipe, storage, shard).filter(pl.col("image_id").is_in(ids.implode()))


def record_failure(project: Project, shard: str, lost: pl.DataFrame, retry: int) -> None:
    tried = tries(project.recipe, lost.with_columns(retry=pl.lit(retry)))
    write_chunk(project.storage, failed_images_table(project.recipe, shard), failed_rows(tried, ["black"] * len(tried)))


def allowing(recipe: Recipe, retries: int) -> Recipe:
    return recipe.model_copy(update={"generation": recipe.generation.model_copy(update={"retries": retries})})


def test_images_that_could_not_be_made_need_no_score(make_project: Callable[..., Project]) -> None:
    project = make_project()
    recipe, storage, shard = project.recipe, project.storage, project.recipe.shard_keys[1]
    planned = read_plan(recipe, storage).height
    lost = lose(project, shard)
    with pytest.raises(IncompleteShardsError, match=f"shard {shard}: {lost.height} of"):
        complete_scores(recipe, storage)

    record_failure(project, shard, lost, retry=1)
    with pytest.raises(IncompleteShardsError):
        complete_scores(recipe, storage)

    record_failure(project, shard, lost, retry=2)
    assert complete_scores(recipe, storage).collect().height == planned - lost.height
    assert missing_scores(recipe, storage, shard).is_empty()
    step = {step.name: step for step in gather_facts(recipe, storage).images}["Images generated"]
    assert (step.count, step.note) == (planned - lost.height, f"{lost.height} could not be made")

    with pytest.raises(IncompleteShardsError):
        complete_scores(allowing(recipe, 3), storage)


def test_more_retries_make_a_shard_with_failed_images_unfinished(make_project: Callable[..., Project]) -> None:
    import dagster as dg

    project = make_project()
    recipe, shard = project.recipe, project.recipe.shard_keys[1]
    record_failure(project, shard, lose(project, shard), retry=2)
    with dg.DagsterInstance.ephemeral() as instance:
        for key in recipe.shard_keys:
            instance.report_runless_asset_event(dg.AssetMaterialization("generated_images", partition=key))
        assert shards_with_work("generated_images", recipe, project.storage) == []
        assert shards_with_work("generated_images", allowing(recipe, 3), project.storage) == [shard]
