"""The dataset follows its scores by declarative automation: once when all are there, and when one changes."""

from collections.abc import Iterator

import dagster as dg
import pytest

from synthvlm_dagster.dataset.assets import dataset_assets
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.operations.automation import dataset_follows_scores, freshness_policy, watched
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.shards import DATA_VERSION_TAG, announce_work
from synthvlm_dagster.recipe import Freshness, Operations, load_recipe

DEMO = load_recipe("demo")
DEFINITIONS = build_definitions(DEMO)
SHARDS = DEMO.shard_keys
CAPTIONS = ("raw_captions", "curated_captions", "rejected_captions", "planned_attempts")
DATASET = {"selected_pairs", "llava_dataset", "webdataset", "dataset_card", "huggingface_dataset", "quality_report"}


class Watcher:
    """Records materializations, and asks, as the daemon does every half minute, what is to be made."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._cursor = None

    def record(self, *names: str, shard: str | None = None, version: str = "1") -> None:
        for name in names:
            tags = {DATA_VERSION_TAG: version}
            self.instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=shard, tags=tags))

    def score(self, *shards: str, version: str = "1") -> None:
        for shard in shards:
            self.record("generated_images", "image_scores", shard=shard, version=version)

    def requested(self) -> set[str]:
        result = dg.evaluate_automation_conditions(
            DEFINITIONS, self.instance, sensor().asset_selection, cursor=self._cursor
        )
        self._cursor = result.cursor
        return {each.key.to_user_string() for each in result.results if not each.true_subset.is_empty}


def sensor() -> dg.AutomationConditionSensorDefinition:
    dataset = Dataset(DEMO)
    return dataset_follows_scores(dataset, dataset_assets(dataset))


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    with dg.DagsterInstance.ephemeral() as instance:
        watcher = Watcher(instance)
        watcher.requested()
        watcher.record(*CAPTIONS)
        yield watcher


def test_it_is_off_until_somebody_switches_it_on():
    assert sensor().default_status == dg.DefaultSensorStatus.STOPPED


def test_the_dataset_is_made_once_when_all_shards_are_there(watcher):
    for shard in SHARDS[:-1]:
        watcher.score(shard)
        assert watcher.requested() == set(), "not before the last shard"
    watcher.score(SHARDS[-1])
    assert watcher.requested() == DATASET
    assert watcher.requested() == set()
    watcher.record(*DATASET)
    assert watcher.requested() == set()


def test_one_changed_shard_is_enough_and_one_recorded_again_is_not(watcher):
    watcher.score(*SHARDS)
    assert watcher.requested() == DATASET
    watcher.record(*DATASET)
    assert watcher.requested() == set()
    watcher.score(SHARDS[1])
    assert watcher.requested() == set(), "the same data"
    watcher.score(SHARDS[1], version="2")
    assert watcher.requested() == DATASET
    assert watcher.requested() == set()


def test_it_waits_for_a_night_that_will_make_the_dataset_itself(watcher):
    watcher.score(*SHARDS)
    watcher.requested()
    watcher.record(*DATASET)
    watcher.requested()
    with night(watcher.instance) as context:
        for name in DATASET:
            announce_work(context, dg.AssetKey(name), [None])
        for version, shard in enumerate(SHARDS, start=2):
            watcher.score(shard, version=str(version))
            assert watcher.requested() == set()
        watcher.record(*DATASET, version="2")
        assert watcher.requested() == set()
    assert watcher.requested() == set()
    watcher.score(SHARDS[0], version="9")
    assert watcher.requested() == DATASET


class night:  # noqa: N801 - reads as what it is
    """An op of a run that is going on."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        job = DEFINITIONS.get_repository_def().get_job("regenerate_weak_pairs")
        config = {"ops": {"try_weak_captions_again": {"config": {"bar": 1.0}}}}
        self.instance = instance
        self.run = instance.create_run_for_job(job, run_config=config, status=dg.DagsterRunStatus.STARTED)
        self.job_name, self.run_id = job.name, self.run.run_id
        self.op_handle = "try_weak_captions_again"

    def __enter__(self) -> "night":
        return self

    def __exit__(self, *_: object) -> None:
        self.instance.report_run_failed(self.run)


def test_only_the_selection_is_watched_for_its_age_and_only_if_the_recipe_says_so():
    assets = dataset_assets(Dataset(DEMO))
    assert all(spec.freshness_policy is None for asset in assets for spec in asset.specs)
    recipe = DEMO.model_copy(
        update={"operations": Operations(freshness=Freshness(warn_after_hours=26, fail_after_hours=48))}
    )
    policies = {
        spec.key.to_user_string(): spec.freshness_policy
        for asset in watched(assets, Dataset(recipe))
        for spec in asset.specs
        if spec.freshness_policy is not None
    }
    assert policies == {"selected_pairs": freshness_policy(recipe.operations.freshness)}
    assert policies["selected_pairs"].fail_window.to_timedelta().total_seconds() == 48 * 3600
