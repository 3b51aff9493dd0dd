"""A backfill under a real daemon, one of whose runs is killed and another of whose runs meets a bad shard."""

import os
import re
import signal
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.operations.run import RANGE_START_TAG
from synthvlm_dagster.shards import DATA_VERSION_TAG
from synthvlm_dagster_tests.end_to_end.project import Project, make_project
from synthvlm_dagster_tests.end_to_end.served import Served, served
from synthvlm_dagster_tests.images.noise import logged_seeds
from synthvlm_dagster_tests.pictures import captions_in_shards, plan

IMAGES = dg.AssetKey("generated_images")
IMAGES_PER_SHARD = 8
PER_BATCH = 4
BAD = "0003"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four shards, of which a run makes two; a chunk of images is a batch."""
    project = make_project(tmp_path / "project", shards=4, attempts=1)
    location = "synthvlm_dagster_tests.operations.repair.noise_location"
    workspace = project.folder / "workspace.yaml"
    workspace.write_text(workspace.read_text().replace("synthvlm_dagster.definitions", location))
    plan(project.storage, captions_in_shards(4 * IMAGES_PER_SHARD, project.recipe.shard_keys), attempts=1)
    return project


def runs_of(running: Served, first_shard: str) -> list[dg.DagsterRun]:
    """Runs over a range that begins with a shard, the oldest first."""
    return list(reversed(running.instance.get_runs(dg.RunsFilter(tags={RANGE_START_TAG: first_shard}))))


def worker_of(running: Served, run_id: str) -> int:
    """Process id of a run's worker."""
    messages = " ".join(entry.message for entry in running.instance.all_logs(run_id))
    [pid] = set(re.findall(r"\(pid: (\d+)\)", messages))
    return int(pid)


def shards_shown(running: Served) -> dict[str, int]:
    answer = running.query(
        """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
            partitionStats { numMaterialized numFailed numMaterializing } } } }""",
        key={"path": IMAGES.path},
    )
    return answer["assetNodeOrError"]["partitionStats"]


def file_times(project: Project) -> dict[str, int]:
    files = project.storage.files("images", ".parquet")
    return {path: Path(project.storage.url(path)).stat().st_mtime_ns for path in files}


def test_a_killed_run_is_launched_again_a_bad_shard_is_not_and_repair_mends_it(project):
    blocked = Path(project.storage.url(images_table(project.recipe, BAD)))
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")
    gate = project.folder / "gate"
    gate.write_text("3")  # A process waits in the middle of its second shard.
    with served(project) as running:
        backfill = running.backfill(["generated_images"], project.recipe.shard_keys)
        running.wait_for((project.folder / "waiting").exists, "the second shard of the first run")
        [first] = runs_of(running, "0000")
        finished = file_times(project)
        assert len(finished) >= IMAGES_PER_SHARD / PER_BATCH
        gate.unlink()
        os.kill(worker_of(running, first.run_id), signal.SIGKILL)
        assert running.backfill_end(backfill) == "COMPLETED_FAILED"

        killed, retried = runs_of(running, "0000")
        assert (killed.status, retried.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
        assert retried.parent_run_id == killed.run_id
        [bad] = runs_of(running, "0002")
        assert bad.status is dg.DagsterRunStatus.FAILURE
        assert bad.tags["dagster/will_retry"] == "false"
        assert shards_shown(running) == {"numMaterialized": 3, "numFailed": 1, "numMaterializing": 0}

        blocked.unlink()
        assert running.run_end(running.launch("repair_shards", repair_images())).is_success
        assert shards_shown(running) == {"numMaterialized": 4, "numFailed": 0, "numMaterializing": 0}
        record = dg.AssetRecordsFilter(IMAGES, asset_partitions=[BAD])
        [repaired] = running.instance.fetch_materializations(record, limit=1).records
        assert repaired.asset_materialization.tags[DATA_VERSION_TAG]
    assert {path: file_times(project)[path] for path in finished} == finished
    images = project.image_ids()
    assert len(images) == len(set(images)) == 4 * IMAGES_PER_SHARD
    # The two batches on their way when the process was killed, and the bad shard, were drawn again; nothing else.
    drawn = Counter(logged_seeds(project.folder / "seeds"))
    assert sum(times > 1 for times in drawn.values()) <= 2 * PER_BATCH + IMAGES_PER_SHARD


def repair_images() -> dict:
    return {"ops": {"repair": {"config": {"assets": ["generated_images"]}}}}
