"""Image embeddings: kept when an image is scored, read on demand, measured again where they are lacking."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.naming import embeddings_table
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import add_pictures, captions_in_shards, draw, plan
from synthvlm_dagster_tests.shards import read_embeddings, score_shard, unmeasured_shards

SHARD = "0000"


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    scoring = {"clip": {"model": str(tiny_clip_folder), "pretrained": None}, "batch_size": 3, "device": "cpu"}
    return tiny_recipe(generation={"image_format": "png"}, scoring=scoring)


@pytest.fixture(params=["local", "memory"])
def storage(recipe: Recipe, request: pytest.FixtureRequest) -> Storage:
    storage = Storage(recipe.storage if request.param == "local" else f"memory://embeddings{id(request)}")
    plan(storage, captions_in_shards(10, [SHARD, "0001"]), attempts=2)
    add_pictures(recipe, storage, SHARD)
    return storage


def score(recipe: Recipe, storage: Storage) -> int:
    return score_shard(recipe, storage, SHARD, ClipScorer(recipe.scoring.clip, "cpu")).measured


def test_every_scored_image_has_its_embedding(recipe: Recipe, storage: Storage) -> None:
    score(recipe, storage)
    ids, embeddings = read_embeddings(recipe, storage, SHARD)
    assert ids.to_list() == sorted(read_scores(recipe, storage, SHARD).collect()["image_id"])
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (10, 16))
    scorer = ClipScorer(recipe.scoring.clip, "cpu")
    scorer.load()
    images = [np.asarray(draw(name, 32, 32)) for name in ids]
    expected = scorer.score([scorer.prepare(image) for image in images], [""] * 10).embeddings
    assert embeddings == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-6)


def test_images_scored_before_embeddings_were_kept(recipe: Recipe, storage: Storage) -> None:
    score(recipe, storage)
    scores = read_scores(recipe, storage, SHARD).collect().sort("image_id")
    first, *_ = storage.files(embeddings_table(recipe, SHARD))
    storage.delete(first)
    assert SHARD in unmeasured_shards(recipe, storage)
    with pytest.raises(StorageError, match=r"of 10 scored images have no embedding.*Materialize image_scores"):
        read_embeddings(recipe, storage, SHARD)
    assert 0 < score(recipe, storage) < 10
    assert SHARD not in unmeasured_shards(recipe, storage)
    assert read_embeddings(recipe, storage, SHARD)[1].shape == (10, 16)
    assert read_scores(recipe, storage, SHARD).collect().sort("image_id").equals(scores)


def test_a_damaged_file_is_an_error_that_says_what_to_do(recipe: Recipe, storage: Storage) -> None:
    score(recipe, storage)
    first, *_ = storage.files(embeddings_table(recipe, SHARD))
    storage.write_bytes(first, storage.read_bytes(first)[:-30])
    with pytest.raises(StorageError, match=r"scored before .* or a file is damaged"):
        read_embeddings(recipe, storage, SHARD)
    score(recipe, storage)
    assert read_embeddings(recipe, storage, SHARD)[1].shape == (10, 16)


def test_a_shard_without_scores_has_none(recipe: Recipe, storage: Storage) -> None:
    ids, embeddings = read_embeddings(recipe, storage, SHARD)
    assert len(ids) == 0
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (0, 0))
