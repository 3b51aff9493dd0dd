"""`synthvlm run` when a shard fails: how far it goes without it."""

import dagster as dg
import pytest

from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.operations.run import Pipeline
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster_tests.images.noise import NoiseGenerator, plain
from synthvlm_dagster_tests.operations.repair.conftest import SHARDS

BAD = SHARDS[2]
SELECTED_ASSETS = {dg.AssetKey(name) for name in ("generated_images", "image_scores", "selected_pairs")}


@pytest.fixture
def run(operated):
    """Runs what is missing of images, scores and selection, with some share of images allowed to be missing."""

    def run_missing(allow_missing):
        selection = Selection(share=0.5, allow_missing=allow_missing)
        operated.recipe = operated.recipe.model_copy(update={"selection": selection})
        repository = build_definitions(operated.recipe).get_repository_def()
        pipeline = Pipeline(repository, operated.instance, operated.dataset)
        return pipeline.run_missing(SELECTED_ASSETS, None, {}, lambda _: None)

    return run_missing


@pytest.mark.parametrize(("asset", "table"), [("generated_images", images_table), ("image_scores", scores_table)])
def test_the_dataset_is_made_without_a_bad_shard_where_the_recipe_allows_it(operated, run, asset, table):
    unblock = operated.block(BAD, table=table)
    outcome = run(0.25)
    assert outcome.succeeded
    assert outcome.failed_shards == (BAD,)
    assert operated.storage.scan(SELECTED).collect().height == 3
    scored = operated.instance.get_materialized_partitions(dg.AssetKey("image_scores"))
    assert scored == set(SHARDS) - {BAD}

    unblock()
    outcome = run(0.25)
    assert (outcome.succeeded, outcome.failed_shards) == (True, ())
    assert operated.storage.scan(SELECTED).collect().height == 4


@pytest.mark.parametrize("allowed", [0, 0.2])
def test_nothing_is_begun_after_a_bad_shard_that_the_recipe_does_not_allow(operated, run, allowed):
    operated.block(BAD)
    outcome = run(allowed)
    assert (outcome.succeeded, outcome.failed_shards) == (False, (BAD,))
    assert not operated.instance.get_materialized_partitions(dg.AssetKey("image_scores"))
    assert not operated.storage.has_table(SELECTED)


def test_what_a_check_forbids_is_not_selected_from(operated, run, monkeypatch):
    class Black(NoiseGenerator):
        def decode(self, latents):
            return [plain(0) for _ in latents]

    monkeypatch.setattr("synthvlm_dagster.images.generators.DiffusersGenerator", lambda _: Black())
    assert not run(0.5).succeeded
    assert not operated.storage.has_table(SELECTED)
