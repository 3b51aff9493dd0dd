"""further_attempts in a real Dagster run with a held-out judge: what is added is judged too, and nothing twice."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.attempts.assets import further_attempts
from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.judges import recipe_judges
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster.scores.naming import embeddings_table, judge_table, scores_table
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import add_pictures, captions_in_shards, plan
from synthvlm_dagster_tests.shards import score_shard, unmeasured_shards

SHARD = "0000"
MOST = 3


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    clip = {"model": str(tiny_clip_folder), "pretrained": None}
    return tiny_recipe(
        generation={"image_format": "png"},
        scoring={"clip": clip, "ssim": {"reduced_size": 10}, "judges": {"siglip": clip}, "device": "cpu"},
        attempts={"min": 1, "max": MOST, "until": 1.0},
    )


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    """Six captions of one shard, each with one image, measured by CLIP, SSIM and the judge."""
    storage = Storage(recipe.storage)
    plan(storage, captions_in_shards(6, [SHARD]), attempts=1)
    add_pictures(recipe, storage, SHARD)
    scorer = ClipScorer(recipe.scoring.clip, "cpu")
    score_shard(recipe, storage, SHARD, scorer, judges=recipe_judges(recipe.scoring))
    return storage


def scored(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    return read_scores(recipe, storage, SHARD).with_columns(weighted_score(0.5)).collect().sort("image_id")


def with_bar(recipe: Recipe, until: float) -> Recipe:
    return recipe.model_copy(update={"attempts": Attempts(min=1, max=MOST, until=until)})


def materialize(recipe: Recipe) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [further_attempts(Dataset(recipe))],
            instance=instance,
            partition_key=SHARD,
        )


def measurements(recipe: Recipe, storage: Storage) -> dict[str, list[str]]:
    """The image_ids of every row of every file of what measures: one that is measured twice stands twice."""
    tables = {
        "scores": scores_table(recipe, SHARD),
        "embeddings": embeddings_table(recipe, SHARD),
        "siglip": judge_table(recipe, "siglip", SHARD),
    }
    return {
        name: storage.scan_files(storage.files(table, ".parquet")).select("image_id").collect()["image_id"].to_list()
        for name, table in tables.items()
    }


def test_the_judge_measures_the_further_images_and_none_twice(recipe: Recipe, storage: Storage) -> None:
    first = scored(recipe, storage)
    before = set(storage.files("scores"))
    adaptive = with_bar(recipe, float(first["weighted_score"].sort()[3]))
    assert materialize(adaptive).success

    after = scored(adaptive, storage)
    images = after["image_id"].to_list()
    assert 6 + 3 <= len(images) <= 6 + 3 * (MOST - 1), "three captions are below the bar"
    assert after["siglip_score"].null_count() == 0
    assert after["siglip_score"].n_unique() > 6
    assert SHARD not in unmeasured_shards(adaptive, storage)
    assert {name: sorted(ids) for name, ids in measurements(adaptive, storage).items()} == dict.fromkeys(
        ("scores", "embeddings", "siglip"), images
    )
    assert before < set(storage.files("scores"))
    assert after.filter(pl.col("attempt") == 0).equals(first)

    files = storage.files("")
    assert materialize(adaptive).success
    assert storage.files("") == files


def test_a_judge_that_joins_later_looks_at_all_images_once(recipe: Recipe, storage: Storage) -> None:
    for path in storage.files(judge_table(recipe, "siglip", SHARD)):
        storage.delete(path)
    first = scored(recipe, storage)
    assert first["siglip_score"].null_count() == 6
    assert materialize(with_bar(recipe, float(first["weighted_score"].sort()[3]))).success
    found = measurements(recipe, storage)
    assert sorted(found["siglip"]) == sorted(found["scores"]) == sorted(found["embeddings"])
    assert len(set(found["siglip"])) == len(found["siglip"]) >= 6 + 3
