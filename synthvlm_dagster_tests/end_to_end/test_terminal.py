"""`synthvlm` as a user types it, in one project folder from its first run on; the tests build on each other."""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._serdes import serialize_value
from filelock import FileLock

from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.operations.terminal_lock import LOCK_FILE
from synthvlm_dagster_tests.dataset.exports.consumers import read_as_llava
from synthvlm_dagster_tests.end_to_end.project import EVERY_ASSET, make_project
from synthvlm_dagster_tests.pseudo_terminal import run_in_terminal


@contextmanager
def instance_of(project):
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        yield instance


def recorded_runs(project):
    with instance_of(project) as instance:
        return [run.run_id for run in instance.get_runs()]


def file_times(project, folder="images"):
    """When each file was written, and its inode: another one took its place where that changes."""
    storage = project.storage
    files = {path: Path(storage.url(path)).stat() for path in storage.files(folder)}
    return {path: (file.st_mtime_ns, file.st_ino) for path, file in files.items()}


def llava_entries(project):
    return json.loads(project.storage.read_bytes("dataset/llava/synthvlm.json"))


def test_check_finds_everything_in_order(project):
    outcome = project.synthvlm("check")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "sources.mine" in outcome.stdout
    assert "error" not in outcome.stdout


def test_plan_says_what_would_be_made_and_makes_nothing(project):
    outcome = project.synthvlm("plan")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "not read yet" in outcome.stdout
    assert "not made yet" in outcome.stdout
    assert not project.storage.files("")


def test_the_first_run_makes_every_table(project):
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert len(project.image_ids()) == len(set(project.image_ids())) == 20
    assert len(llava_entries(project)) == 5
    with instance_of(project) as instance:
        for name in EVERY_ASSET:
            assert instance.get_latest_materialization_event(dg.AssetKey(name)) is not None, name
        for name in ("generated_images", "image_scores"):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == set(project.recipe.shard_keys)
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
    for line in (
        "Captions found",
        "Images generated",
        "Pairs selected",
        "CLIPScore",
        "SSIM",
        "dataset/llava",
        "dataset/huggingface",
    ):
        assert line in outcome.stdout


def test_every_asset_tells_what_it_holds_in_small_events(project):
    pages = {"dataset_card", "quality_report"}
    with instance_of(project) as instance:
        for name in EVERY_ASSET:
            records = instance.fetch_materializations(dg.AssetKey(name), limit=10).records
            assert records, name
            for record in records:
                metadata = record.asset_materialization.metadata
                assert len(serialize_value(record.event_log_entry)) < 64 * 1024, name
                assert Path(metadata["dagster/uri"].value).exists(), name
                if name in pages:
                    continue
                assert isinstance(metadata["dagster/row_count"].value, int), name
                columns = metadata["dagster/column_schema"].schema.columns
                assert columns, name
                for column in columns:
                    assert column.type, (name, column)
                    assert column.description, (name, column)
                    assert column.description != column.name, (name, column)


NUMBERS_OF_SHARDS = {
    "generated_images": {
        "dagster/row_count", "images_made_now", "images_per_second", "seconds", "model_load_seconds", "failed_images",
        "pictures_drawn_again", "chunks_quarantined", "batch_size",
    },
    "image_scores": {
        "dagster/row_count", "images_scored_now", "images_per_second", "seconds", "clip_score_mean", "clip_score_min",
        "clip_score_max", "ssim_mean", "ssim_min", "ssim_max",
    },
}  # fmt: skip


def test_what_a_chart_over_the_shards_shows_are_numbers(project):
    with instance_of(project) as instance:
        for name, numbers in NUMBERS_OF_SHARDS.items():
            for shard in project.recipe.shard_keys:
                only = dg.AssetRecordsFilter(dg.AssetKey(name), asset_partitions=[shard])
                [record] = instance.fetch_materializations(only, limit=1).records
                metadata = record.asset_materialization.metadata
                assert numbers <= metadata.keys(), (name, shard)
                for number in numbers:
                    value = metadata[number]
                    assert isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue), (name, shard, number)


def test_every_export_is_opened_by_its_consumer_library(project, tmp_path, monkeypatch):
    import datasets
    import mlcroissant
    import webdataset

    captions = dict(project.storage.scan("dataset/selected").select("image_id", "text").collect().iter_rows())
    folder = Path(project.storage.url("dataset"))

    examples = read_as_llava(folder / "llava" / "synthvlm.json", folder / "llava" / "images")
    assert {example.identity: example.turns[1][1] for example in examples} == captions

    tars = [str(file) for file in sorted((folder / "webdataset").glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert {sample["__key__"]: sample["txt"] for sample in samples} == captions

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    rows = datasets.load_dataset(str(folder / "huggingface"), split="train", cache_dir=str(tmp_path))
    assert {row["image_id"]: row["caption"] for row in rows} == captions

    records = list(mlcroissant.Dataset(jsonld=folder / "huggingface" / "croissant.json").records("pairs"))
    assert {row["pairs/image_id"].decode(): row["pairs/caption"].decode() for row in records} == captions

    images = [sample["png"] for sample in samples] + [row["image"] for row in rows]
    images += [row["pairs/image"] for row in records] + [example.image for example in examples]
    assert {image.size for image in images} == {(64, 64)}
    assert len(images) == 20


def test_a_second_run_has_nothing_to_do(project):
    times, runs = file_times(project, ""), recorded_runs(project)
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert file_times(project, "") == times
    assert recorded_runs(project) == runs
    assert "up to date" in project.synthvlm("plan").stdout


def test_a_table_that_another_program_wrote_is_made_again(project):
    curated = project.storage.scan("captions/curated").collect()
    project.storage.write_table("captions/curated", curated.head(3))
    assert "nothing says what it was made from" in " ".join(project.synthvlm("plan").stdout.split())
    before = file_times(project)
    assert project.synthvlm("run").returncode == 0
    assert project.storage.scan("captions/curated").collect().equals(curated)
    assert file_times(project) == before


def test_another_selection_touches_no_image(project):
    times = file_times(project)
    recipe = project.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("count: 5", "strategy: zscore, ssim_weight: 0.3, count: 3"))
    scores = file_times(project, "scores")
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert file_times(project) == times
    assert file_times(project, "scores") == scores
    assert len(llava_entries(project)) == 3


def test_a_selection_of_assets_leaves_the_others(project):
    recipe = project.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("count: 3", "count: 4"))
    outcome = project.synthvlm("run", "--select", 'key:"selected_pairs"')
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert project.storage.scan("dataset/selected").collect().height == 4
    assert len(llava_entries(project)) == 3
    assert project.synthvlm("run").returncode == 0
    assert len(llava_entries(project)) == 4


def test_captions_alone_are_counted_by_rule(tmp_path):
    project = make_project(tmp_path, captions=4)
    with (project.folder / "captions.csv").open("a") as file:
        file.write("!!!\n")
    outcome = project.synthvlm("run", "--select", 'group:"captions"')
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "Warning" not in outcome.stderr
    assert "5 found, 4 kept by curation" in outcome.stdout
    assert ["alnum_ratio", "1", "!!!"] in [line.split() for line in outcome.stdout.splitlines()]
    assert "5 found, 4 kept by curation" in project.synthvlm("plan").stdout


def test_a_terminal_shows_bars_below_the_lines_of_the_log(tmp_path):
    project = make_project(tmp_path, captions=4, shards=1)
    selection = '+key:"generated_images"'
    command = [sys.executable, "-m", "synthvlm_dagster.cli", "run", "--select", selection]
    status, shown = run_in_terminal(command, cwd=project.folder, env=project.environment)
    assert status == 0, shown
    assert "images of shard 0000:   0%|" in shown
    assert "complete with 8 images" in shown
    assert "Warning" not in shown


def test_new_captions_cost_only_their_own_images(project):
    times, before = file_times(project), project.image_ids()
    with (project.folder / "captions.csv").open("a") as captions:
        captions.write("A large red circle above a small blue square on a striped background.\n")
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert times.items() <= file_times(project).items()
    assert len(set(project.image_ids()) - set(before)) == len(project.image_ids()) - len(before) == 2


def test_with_another_number_of_shards_only_what_moves_is_made_again(tmp_path):
    project = make_project(tmp_path / "project")

    def run_with(shards):
        recipe = project.folder / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace(f"shards: {project.recipe.shards}\n", f"shards: {shards}\n"))
        outcome = project.synthvlm("run")
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return file_times(project), [(entry["id"], entry["conversations"]) for entry in llava_entries(project)]

    files, selected = run_with(3)
    more_files, same_selected = run_with(2)
    assert files.items() < more_files.items()
    assert same_selected == selected
    images = project.storage.scan("images").select("image_id").collect()["image_id"]
    assert images.len() < 2 * images.n_unique(), "what stays in its shard is not made again"
    assert run_with(3) == (more_files, selected)


def test_plan_estimates_from_what_earlier_shards_took(tmp_path):
    project = make_project(tmp_path)
    project.synthvlm("run", "--select", 'group:"captions" or key:"planned_attempts"')
    assert "unknown until a shard has been made" in project.synthvlm("plan").stdout
    project.synthvlm("run", "--shards", "0000")
    recipe = project.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  image_format", "  price_per_gpu_hour: 3600\n  image_format"))
    plan = project.synthvlm("plan").stdout
    (time,) = (line.split() for line in plan.splitlines() if line.strip().startswith("time"))
    amount, unit, dollars = float(time[1]), time[2], float(time[3].strip("$,"))
    in_seconds = amount * {"GPU-seconds,": 1, "GPU-minutes,": 60}[unit]
    # At a dollar a second the two are the same number.
    assert dollars == pytest.approx(in_seconds, rel=0.06)
    assert "more in the storage" in plan


def test_a_failing_shard_fails_alone_and_is_repaired_alone(tmp_path):
    project = make_project(tmp_path / "project")
    obstacle = tmp_path / "project" / "storage" / "images" / generator_name(project.recipe) / "0001"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where the shard's folder should be")
    outcome = project.synthvlm("run")
    assert outcome.returncode == 1
    told = outcome.stdout.partition("Failed shards: 0001.")[2]
    assert "generated_images: 1 of 3 shards failed" in told
    assert f"shard 0001: {obstacle}" in told
    with instance_of(project) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("generated_images")) == {"0000", "0002"}
    obstacle.unlink()
    kept = file_times(project)

    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert kept.items() <= file_times(project).items()
    assert len(project.image_ids()) == len(set(project.image_ids())) == 20
    assert len(llava_entries(project)) == 5


def test_single_shards_can_be_made_and_the_dataset_waits_for_the_others(tmp_path):
    project = make_project(tmp_path / "project")
    outcome = project.synthvlm("run", "--shards", "0001-0002")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "waits for the shards 0000" in outcome.stdout
    with instance_of(project) as instance:
        for name in ("generated_images", "image_scores"):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == {"0001", "0002"}
    kept = file_times(project)
    assert project.synthvlm("run").returncode == 0
    assert kept.items() < file_times(project).items()
    assert len(llava_entries(project)) == 5


@pytest.mark.parametrize("selection", ["))", 'key:"no_such_asset"'])
def test_a_selection_that_means_nothing_is_a_clear_error(project, selection):
    outcome = project.synthvlm("run", "--select", selection)
    assert outcome.returncode == 2
    assert "AssetSelectionError" in outcome.stdout
    assert "Traceback" not in outcome.stdout + outcome.stderr


def test_kill_9_loses_no_image_and_makes_none_twice(tmp_path):
    project = make_project(tmp_path / "project", captions=24, attempts=4)
    running = project.start("synthvlm_dagster.cli", "run", start_new_session=True)
    deadline = time.monotonic() + 240
    while len(project.storage.files("images")) < 3:
        assert running.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline, "no image within four minutes"
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = file_times(project)
    made_before = project.image_ids()
    assert 0 < len(made_before) < 96
    with instance_of(project) as instance:
        [killed] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))

    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert kept.items() <= file_times(project).items()
    assert len(project.image_ids()) == len(set(project.image_ids())) == 96
    with instance_of(project) as instance:
        assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE
        assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))


def test_two_runs_at_once_are_refused(project):
    with FileLock(project.home / LOCK_FILE, timeout=0):
        outcome = project.synthvlm("run")
    assert outcome.returncode == 2
    assert "another synthvlm run is at work" in outcome.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("shards: 3", "shard: 3"), "did you mean shards?"),
        (("path: captions.csv", "path: nowhere.csv"), "nowhere.csv"),
        (("synthvlm_dagster.demo/models/shapes-sdxl", "synthvlm_dagster.demo/models/gone"), "no such model folder"),
        (("storage: storage", "storage: recipe.yaml/tables"), "storage"),
    ],
)
def test_check_names_what_is_wrong(tmp_path, change, message):
    project = make_project(tmp_path / "project")
    recipe = project.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(*change))
    outcome = project.synthvlm("check")
    assert outcome.returncode in (1, 2)
    assert message in outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stdout + outcome.stderr


def test_the_paper_recipe_can_be_checked_and_planned_anywhere(tmp_path):
    project = make_project(tmp_path / "project")
    outcome = project.synthvlm("check", "--recipe", "synthvlm-100k")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "stabilityai/stable-diffusion-xl-base-1.0" in outcome.stdout
    outcome = project.synthvlm("plan", "--recipe", "synthvlm-100k")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "1024 × 1024" in outcome.stdout
    assert "512 shards" in outcome.stdout


def test_init_writes_a_recipe_that_passes_check(tmp_path):
    project = make_project(tmp_path / "project")
    for file in ("recipe.yaml", "dagster.yaml", "workspace.yaml"):
        (project.folder / file).unlink()
    outcome = project.synthvlm("init", ".")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert all((project.folder / file).is_file() for file in ("recipe.yaml", "dagster.yaml", "workspace.yaml"))
    assert project.synthvlm("check").returncode == 0
    (project.folder / "recipe.yaml").write_text("mine")
    assert "kept" in project.synthvlm("init", ".").stdout
    assert (project.folder / "recipe.yaml").read_text() == "mine"
