"""Bad shards in real Dagster runs: what the UI shows of them, and how one run repairs them."""

import dagster as dg
import numpy as np
import pytest

from synthvlm_dagster.attempts.assets import further_attempts
from synthvlm_dagster.images.assets import generated_images
from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.recipe import Attempts
from synthvlm_dagster.scores.assets import image_scores
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster_tests.images.noise import NoiseGenerator
from synthvlm_dagster_tests.operations.repair.conftest import SHARDS, Asset, Operated, failure_of, named
from synthvlm_dagster_tests.pictures import captions_in_shards, plan

FIRST, LAST = SHARDS[0], SHARDS[-1]
BAD = [SHARDS[1], SHARDS[3]]
GOOD = [shard for shard in SHARDS if shard not in BAD]


def latest(operated: Operated, asset: Asset, shard: str) -> dg.AssetMaterialization:
    of_shard = dg.AssetRecordsFilter(operated.key(asset), asset_partitions=[shard])
    [record] = operated.instance.fetch_materializations(of_shard, limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization


@pytest.mark.parametrize(
    ("asset", "table"),
    [(generated_images, images_table), (image_scores, scores_table), (further_attempts, images_table)],
)
def test_bad_shards_fail_alone_and_are_shown_as_failed(operated, asset, table):
    if asset is further_attempts:
        operated.recipe = operated.recipe.model_copy(update={"attempts": Attempts(min=1, max=2, until=2.0)})
    for earlier in (generated_images, image_scores):
        if asset in (image_scores, further_attempts) and earlier is not asset:
            assert operated.make(earlier, FIRST, LAST).success
    operated.block(*BAD, table=table)
    result = operated.make(asset, FIRST, LAST)
    assert not result.success
    assert named(operated.states(asset), "FAILED") == BAD
    assert named(operated.states(asset), "MATERIALIZED") == GOOD
    failure = failure_of(result).user_failure_data
    assert failure.metadata["failed_shards"].value == ", ".join(BAD)
    assert sorted(failure.metadata["errors_of_shards"].value) == BAD
    assert all(f"shard {shard}: " in failure.description for shard in BAD)


def test_a_check_that_breaks_costs_no_other_shard(operated, monkeypatch):
    def broken(dataset, images):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("synthvlm_dagster.images.assets.evaluate_images", broken)
    result = operated.make(generated_images, FIRST, SHARDS[1])
    assert not result.success
    assert named(operated.states(generated_images), "MATERIALIZED") == [FIRST, SHARDS[1]]
    assert "Input/output error" in failure_of(result).user_failure_data.description


def test_scattered_shards_are_made_whole_in_one_run_with_one_model(operated):
    unblock = operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    operated.make(image_scores, FIRST, FIRST)
    unblock()
    operated.generators = 0

    result = operated.repair()
    assert result.success
    assert operated.generators == 1
    assert named(operated.states(generated_images), "MATERIALIZED") == SHARDS
    assert named(operated.states(image_scores), "MATERIALIZED") == [FIRST, *BAD]
    made = [(event.asset_key, event.partition) for event in result.get_asset_materialization_events()]
    assert made == [(operated.key(asset), shard) for asset in (generated_images, image_scores) for shard in BAD]
    checks = {(check.check_name, check.partition): check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {(name, shard): True for name in ("sound_images", "sound_scores") for shard in BAD}

    # The records of a repaired shard are those that its asset would have made.
    for asset in (generated_images, image_scores):
        repaired, usual = latest(operated, asset, BAD[0]), latest(operated, asset, FIRST)
        assert repaired.metadata.keys() == usual.metadata.keys()
        own = {name for name in repaired.tags if name.startswith("dagster/")}
        assert {"dagster/data_version", "dagster/code_version"} <= own
        assert repaired.tags["dagster/code_version"] == usual.tags["dagster/code_version"]
    version = latest(operated, generated_images, BAD[0]).tags["dagster/data_version"]
    scored = latest(operated, image_scores, BAD[0]).tags
    assert scored["dagster/input_data_version/generated_images"] == version

    again = operated.repair()
    assert again.success
    assert not again.get_asset_materialization_events()


def test_a_shard_that_fails_again_stays_failed_and_stops_no_other(operated):
    operated.block(BAD[0])
    unblock = operated.block(*BAD[1:])
    operated.make(generated_images, FIRST, LAST)
    unblock()

    result = operated.repair()
    assert not result.success
    assert named(operated.states(generated_images), "FAILED") == BAD[:1]
    assert named(operated.states(generated_images), "MATERIALIZED") == [s for s in SHARDS if s != BAD[0]]
    assert operated.states(image_scores) == {BAD[0]: "FAILED"} | dict.fromkeys(BAD[1:], "MATERIALIZED")
    failure = failure_of(result).user_failure_data
    assert failure.description.startswith("1 of 2 shards failed; the others are recorded.")
    assert list(failure.metadata["errors_of_shards"].value) == BAD[:1]


def test_a_shard_whose_check_finds_an_error_goes_no_further(operated, monkeypatch):
    class Black(NoiseGenerator):
        def decode(self, latents):
            return [Drawn(np.zeros((16, 16, 3), np.uint8)) for _ in latents]

    monkeypatch.setattr("synthvlm_dagster.images.generators.DiffusersGenerator", lambda _: Black())
    result = operated.repair({"shards": [SHARDS[2]]})
    assert not result.success
    assert operated.states(image_scores) == {SHARDS[2]: "FAILED"}
    assert "could not be made" in failure_of(result).user_failure_data.metadata["errors_of_shards"].value[SHARDS[2]]


def test_a_cancelled_shard_is_found_by_what_it_left_in_the_store(operated):
    assert operated.make(generated_images, FIRST, FIRST).success
    files = operated.storage.files(images_table(operated.recipe, FIRST), ".parquet")
    plan(operated.storage, captions_in_shards(6 * len(SHARDS), SHARDS), attempts=1)
    with dg.DagsterInstance.ephemeral() as another:
        operated.instance = another
        assert operated.repair().success
        assert operated.states(generated_images) == {FIRST: "MATERIALIZED"}
    assert len(operated.storage.files(images_table(operated.recipe, FIRST), ".parquet")) > len(files)


def test_shards_left_unfinished_are_found_and_those_never_begun_are_not(operated):
    assert operated.make(generated_images, FIRST, SHARDS[2]).success
    assert operated.make(image_scores, FIRST, SHARDS[2]).success
    for shard, table in ((SHARDS[0], images_table), (SHARDS[2], scores_table)):
        for path in operated.storage.files(table(operated.recipe, shard), ".parquet"):
            operated.storage.delete(path)
    result = operated.repair()
    assert result.success
    assert {event.partition for event in result.get_asset_materialization_events()} == {SHARDS[0], SHARDS[2]}


def test_an_adaptive_recipe_is_repaired_down_to_its_further_attempts(operated):
    operated.recipe = operated.recipe.model_copy(update={"attempts": Attempts(min=1, max=2, until=2.0)})
    unblock = operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    unblock()
    assert operated.repair().success
    assert operated.states(further_attempts) == dict.fromkeys(BAD, "MATERIALIZED")
    assert latest(operated, further_attempts, BAD[0]).metadata["dagster/row_count"].value == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"shards": ["0099"]}, "there is no 0099; this recipe has 0000 to"),
        ({"assets": ["image_score"]}, "image_score cannot be repaired; this recipe's assets of shards: generated"),
    ],
)
def test_what_does_not_exist_is_named(operated, config, message):
    result = operated.repair(config)
    assert not result.success
    assert message in failure_of(result).error.cause.message
