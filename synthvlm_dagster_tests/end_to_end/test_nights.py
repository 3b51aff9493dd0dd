"""A night as a user has it: further tries for weak captions, killed in the middle, and what stands the next morning."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.attempts.nights import nights_attempts
from synthvlm_dagster.attempts.plan import read_plan, read_tried
from synthvlm_dagster.operations.regeneration.night import NIGHTS
from synthvlm_dagster.orchestration.shards import DATA_VERSION_TAG, INPUT_VERSION_TAG
from synthvlm_dagster_tests.end_to_end.project import Project, make_project

pytestmark = pytest.mark.long

BAR = 1.35
MAX_IMAGES = 14
CAPTIONS = 12
DEFINITIONS = "synthvlm_dagster.definitions"
SETTINGS = f"""\
exports: {{webdataset: null, huggingface: null}}
operations:
  regeneration: {{bar: {BAR}, max_attempts: 4, max_images: {MAX_IMAGES}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A finished project of twelve captions with one image each, in three shards."""
    project = make_project(tmp_path_factory.mktemp("nights") / "project", captions=CAPTIONS, shards=3, attempts=1)
    recipe = project.folder / "recipe.yaml"
    priced = recipe.read_text().replace("  image_format: png\n", "  image_format: png\n  price_per_gpu_hour: 3600\n")
    recipe.write_text(
        priced.replace("batch_size: 4\n  images_per_chunk: 4", "batch_size: 2\n  images_per_chunk: 2") + SETTINGS
    )
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return project


@pytest.fixture(scope="module")
def messages() -> Iterator[list[dict[str, str]]]:
    """What a webhook on this machine gets; its URL is in the environment."""
    received: list[dict[str, str]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["NIGHTS_WEBHOOK"] = f"http://127.0.0.1:{server.server_port}/"
        yield received
        server.shutdown()


def start_night(project: Project) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *f"-m dagster job execute -m {DEFINITIONS} -j regenerate_weak_pairs".split()],
        cwd=project.folder,
        env=project.environment | {"SYNTHVLM_WEBHOOK_URL": os.environ["NIGHTS_WEBHOOK"]},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def file_times(project: Project) -> dict[str, int]:
    storage = project.storage
    return {path: Path(storage.url(path)).stat().st_mtime_ns for path in storage.files("")}


def added(project: Project) -> pl.DataFrame:
    columns = ("caption_id", "attempt", "best_score", "night")
    return nights_attempts(project.recipe, project.storage, None, columns)


def latest(instance: dg.DagsterInstance, name: str, shard: str | None = None) -> dg.AssetMaterialization:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(name), asset_partitions=[shard] if shard else None)
    return instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization


def test_a_killed_night_goes_on_within_its_budget(project, messages):
    before = project.image_ids()
    running = start_night(project)
    deadline = time.monotonic() + 240
    while len(project.image_ids()) < len(before) + 4:
        assert running.poll() is None, "ended before it could be killed: " + (running.stdout.read() or "")[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    [record] = project.storage.files(NIGHTS)
    assert not json.loads(project.storage.read_bytes(record))["reported"]
    assert messages == []
    kept = {path: when for path, when in file_times(project).items() if path.startswith("images/")}

    running = start_night(project)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output[-5000:]
    times = file_times(project)
    assert kept == {path: times[path] for path in kept}
    images = project.image_ids()
    assert len(images) == len(set(images)) == len(before) + MAX_IMAGES
    assert added(project).unique(["caption_id", "attempt"]).height == added(project).height == MAX_IMAGES
    assert added(project)["night"].n_unique() == 1
    assert project.storage.files(NIGHTS, ".json") == [record]


def test_the_report_is_of_the_whole_night(project, messages):
    tried = read_tried(project.recipe, project.storage)
    of_first = tried.filter(pl.col("attempt") == 0).select("caption_id", first="weighted_score")
    best = (
        tried.group_by("caption_id")
        .agg(pl.col("weighted_score").max(), images=pl.len())
        .join(of_first, on="caption_id")
    )
    again = best.filter(pl.col("images") > 1)
    lifted = again.filter(pl.col("weighted_score") >= BAR).height
    left = best.filter(pl.col("weighted_score") < BAR).height
    assert 0 < lifted < again.height
    [message] = messages
    assert message["title"] == f"small: {lifted} of {again.height} captions lifted over the bar by {MAX_IMAGES} images"
    assert (
        f"Mean of their best images: {again['first'].mean():.4f} → {again['weighted_score'].mean():.4f}"
        in message["text"]
    )
    assert f"Captions still under the bar: {left}, " in message["text"]
    night = json.loads(project.storage.read_bytes(project.storage.files(NIGHTS, ".json")[0]))
    assert night["reported"]
    assert night["images_timed"] == MAX_IMAGES
    seconds = night["seconds"] + night["load_seconds"]
    assert f"${seconds:,.2f}" in message["text"], "at a dollar per second"
    selected = project.storage.scan("dataset/selected").collect()["weighted_score"].mean()
    assert f"→ {selected:.4f}" in message["text"]
    assert night["mean_selected_before"] < selected


def test_dagster_knows_the_night_and_everything_behind_it(project):
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        rows = 0
        for shard in project.recipe.shard_keys:
            images, scores = (latest(instance, name, shard) for name in ("generated_images", "image_scores"))
            rows += images.metadata["dagster/row_count"].value
            assert scores.metadata["dagster/row_count"] == images.metadata["dagster/row_count"]
            assert scores.tags[INPUT_VERSION_TAG + "generated_images"] == images.tags[DATA_VERSION_TAG]
        assert rows == CAPTIONS + MAX_IMAGES
        selection = latest(instance, "selected_pairs").tags[DATA_VERSION_TAG]
        for name in ("llava_dataset", "dataset_card", "quality_report"):
            assert latest(instance, name).tags[INPUT_VERSION_TAG + "selected_pairs"] == selection
        [observation] = instance.fetch_observations(dg.AssetKey("selected_pairs"), limit=9).records
        metadata = observation.asset_observation.metadata
        assert metadata["images_made"].value == MAX_IMAGES
        assert "| Images made | 14 |" in metadata["report"].value
        [night, *_] = instance.get_runs(dg.RunsFilter(job_name="regenerate_weak_pairs"), limit=1)
        assert night.status == dg.DagsterRunStatus.SUCCESS


def test_nothing_is_left_to_do_the_next_morning(project):
    times = file_times(project)
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert file_times(project) == times
    assert f"1 for each caption, and {MAX_IMAGES} more at night" in outcome.stdout


def test_another_number_of_attempts_loses_no_image_of_the_night(project):
    recipe = project.folder / "recipe.yaml"
    fixed = recipe.read_text()
    recipe.write_text(fixed.replace("{per_caption: 1}", "{max: 2, until: 0.1}"))
    plan = read_plan(project.recipe, project.storage)
    assert set(plan["image_id"]) == set(project.image_ids())
    recipe.write_text(fixed)


def test_scattered_stale_shards_are_made_again_in_one_run(project):
    storage = project.storage
    shards = project.recipe.shard_keys[::2]
    for path in storage.files("scores"):
        if path.split("/")[-2] in shards:
            storage.delete(path)
    outcome = project.synthvlm("run", "--select", 'key:"image_scores"')
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert read_tried(project.recipe, storage)["weighted_score"].null_count() == 0
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        [run] = instance.get_runs(dg.RunsFilter(job_name="repair_shards"))
        assert run.run_config["ops"]["repair"]["config"] == {"shards": shards, "assets": ["image_scores"]}
        for shard in shards:
            wanted = dg.AssetRecordsFilter(dg.AssetKey("image_scores"), asset_partitions=[shard])
            assert instance.fetch_materializations(wanted, limit=1).records[0].run_id == run.run_id
