"""A backfill under a real daemon, one of whose runs is killed and another of whose runs meets a bad shard."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.operations.names import RANGE_START_TAG
from synthvlm_dagster.operations.repair.broken import FAILED, shard_states
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster_tests.end_to_end.deployment import Deployment, kill_process, live_workers, wait_until
from synthvlm_dagster_tests.end_to_end.project import Project, make_project
from synthvlm_dagster_tests.images.noise import logged_seeds
from synthvlm_dagster_tests.pictures import captions_in_shards, plan

IMAGES = dg.AssetKey("generated_images")
IMAGES_PER_SHARD = 8
PER_BATCH = 4
BAD = "0003"
REPAIR_IMAGES = {"ops": {"repair": {"config": {"assets": ["generated_images"]}}}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four shards, of which a run makes two; a chunk of images is a batch."""
    project = make_project(tmp_path / "project", shards=4, attempts=1)
    plan(project.storage, captions_in_shards(4 * IMAGES_PER_SHARD, project.recipe.shard_keys), attempts=1)
    return project


@pytest.fixture
def deployment(project: Project) -> Iterator[Deployment]:
    served = Deployment(project, "synthvlm_dagster_tests.operations.repair.noise_location")
    yield served
    served.stop()


def runs_of(instance: dg.DagsterInstance, first_shard: str) -> list[dg.DagsterRun]:
    """Runs over a range that begins with a shard, the oldest first."""
    return list(reversed(instance.get_runs(dg.RunsFilter(tags={RANGE_START_TAG: first_shard}))))


def backfill_status(instance: dg.DagsterInstance, backfill_id: str) -> str:
    backfill = instance.get_backfill(backfill_id)
    assert backfill is not None
    return backfill.status.value


def is_finished(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def file_times(project: Project) -> dict[str, int]:
    files = project.storage.files("images", ".parquet")
    return {path: Path(project.storage.url(path)).stat().st_mtime_ns for path in files}


def test_a_killed_run_is_launched_again_a_bad_shard_is_not_and_repair_mends_it(project, deployment):
    blocked = Path(project.storage.url(images_table(project.recipe, BAD)))
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")
    gate = project.folder / "gate"
    gate.write_text("3")  # A process waits in the middle of its second shard.
    # Opened first: processes that lay out the same database at once get in each other's way.
    with deployment.instance() as instance:
        deployment.start()
        backfill = deployment.launch_backfill(("generated_images",))
        wait_until((project.folder / "waiting").exists, "the second shard of the first run")
        [first] = runs_of(instance, "0000")
        finished = file_times(project)
        assert len(finished) >= IMAGES_PER_SHARD / PER_BATCH
        kill_process(live_workers(instance)[first.run_id])
        gate.unlink()
        ends = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED")
        wait_until(lambda: backfill_status(instance, backfill) in ends, "the end of the backfill", 400)
        assert backfill_status(instance, backfill) == "COMPLETED_FAILED"

        killed, retried = runs_of(instance, "0000")
        assert (killed.status, retried.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
        assert retried.parent_run_id == killed.run_id
        [bad] = runs_of(instance, "0002")
        assert bad.status is dg.DagsterRunStatus.FAILURE
        assert bad.tags["dagster/will_retry"] == "false"
        made = dict.fromkeys(project.recipe.shard_keys, "MATERIALIZED")
        assert shard_states(instance, IMAGES, Dataset(project.recipe)) == made | {BAD: FAILED}

        blocked.unlink()
        repair = deployment.launch_run("repair_shards", REPAIR_IMAGES)
        wait_until(lambda: is_finished(instance, repair), "the end of the repair")
        assert shard_states(instance, IMAGES, Dataset(project.recipe)) == made
    assert {path: file_times(project)[path] for path in finished} == finished
    images = project.image_ids()
    assert len(images) == len(set(images)) == 4 * IMAGES_PER_SHARD
    # The two batches on their way when the process was killed, and the bad shard, were drawn again; nothing else.
    drawn = Counter(logged_seeds(project.folder / "seeds"))
    assert sum(times > 1 for times in drawn.values()) <= 2 * PER_BATCH + IMAGES_PER_SHARD
