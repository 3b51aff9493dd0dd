"""Adaptive best-of-N as a user runs it: only captions below the bar get more images, and a kill makes none twice."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.orchestration.shards import DATA_VERSION_TAG, INPUT_VERSION_TAG
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster_tests.end_to_end.project import Project, make_project

BAR = 1.34
CAPTIONS = 12
UPSTREAM = {"generated_images": None, "image_scores": "generated_images", "further_attempts": "image_scores"}


def adaptive_project(folder: Path, attempts: str = f"{{max: 4, until: {BAR}}}") -> Project:
    project = make_project(folder, captions=CAPTIONS, shards=2, attempts=1)
    rewrite(project, "{per_caption: 1}", attempts)
    return project


def rewrite(project: Project, old: str, new: str) -> None:
    recipe = project.folder / "recipe.yaml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))


def best_scores(project: Project) -> pl.DataFrame:
    """caption_id, images (how many), best, and best_before: of all images but the last."""
    scores = read_scores(project.recipe, project.storage).with_columns(weighted_score(0.5)).sort("attempt")
    return (
        scores.group_by("caption_id")
        .agg(
            images=pl.len(),
            best=pl.col("weighted_score").max(),
            best_before=pl.col("weighted_score").head(pl.len() - 1).max(),
        )
        .collect()
    )


def file_times(project: Project, folder: str = "images") -> dict[str, int]:
    storage = project.storage
    return {path: Path(storage.url(path)).stat().st_mtime_ns for path in storage.files(folder)}


def assert_complete(project: Project, bar: float = BAR, most: int = 4) -> None:
    rows = best_scores(project)
    assert rows.height == CAPTIONS
    for _, images, best, before in rows.iter_rows():
        assert best >= bar or images == most
        assert before is None or before < bar
    images = project.image_ids()
    assert len(images) == len(set(images)) == rows["images"].sum()


def assert_recorded(project: Project) -> None:
    """Dagster tells of each shard how many images there are now, and that they are made of the inputs as they are."""
    rows, versions = Counter(), {}
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
        for name, parent in UPSTREAM.items():
            for shard in project.recipe.shard_keys:
                wanted = dg.AssetRecordsFilter(dg.AssetKey(name), asset_partitions=[shard])
                [record] = instance.fetch_materializations(wanted, limit=1).records
                rows[name] += record.asset_materialization.metadata["dagster/row_count"].value
                tags = record.asset_materialization.tags
                versions[name, shard] = tags[DATA_VERSION_TAG]
                if parent:
                    assert tags[INPUT_VERSION_TAG + parent] == versions[parent, shard], (name, shard)
    images = len(project.image_ids())
    assert rows == {"generated_images": images, "image_scores": images, "further_attempts": images - CAPTIONS}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return adaptive_project(tmp_path_factory.mktemp("adaptive") / "project")


def test_captions_below_the_bar_get_more_images(project):
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert_complete(project)
    assert "than" in next(line for line in outcome.stdout.splitlines() if "Images scored" in line)
    assert len(Counter(best_scores(project)["images"])) > 1, "otherwise this test shows nothing"


def test_dagster_knows_every_shard_and_its_images(project):
    assert_recorded(project)


def test_a_second_run_has_nothing_to_do(project):
    times = file_times(project, "")
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert file_times(project, "") == times


def test_a_higher_bar_costs_only_the_images_that_it_asks_for(project):
    times = file_times(project)
    rewrite(project, f"until: {BAR}", "until: 1.36")
    for shard in project.recipe.shard_keys:
        outcome = project.synthvlm("run", "--shards", shard)
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert times.items() < file_times(project).items()
    images = project.image_ids()
    assert len(images) == len(set(images))
    assert all(best >= 1.36 or images == 4 for _, images, best, _ in best_scores(project).iter_rows())
    assert_recorded(project)


def test_what_other_settings_asked_for_is_reused_and_no_longer_counts(project):
    """A lower bar, a budget and back: each time what a fresh run of the recipe would have made, and no image twice."""
    high, times = sorted(best_scores(project).rows()), file_times(project)
    for old, new in (("until: 1.36", f"until: {BAR}"), (f"until: {BAR}", "until: 1.36")):
        rewrite(project, old, new)
        outcome = project.synthvlm("run")
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert file_times(project) == times
        if new != "until: 1.36":
            fewer = best_scores(project)
            assert fewer["images"].sum() < sum(images for _, images, *_ in high)
            assert all(best >= BAR or images == 4 for _, images, best, _ in fewer.iter_rows())
            assert all(before is None or before < BAR for *_, before in fewer.iter_rows())
    assert sorted(best_scores(project).rows()) == high


def test_a_fixed_number_has_no_further_attempts(project):
    rewrite(project, "{max: 4, until: 1.36}", "{per_caption: 1}")
    outcome = project.synthvlm("plan")
    assert "further_attempts" not in outcome.stdout
    assert f"{CAPTIONS} planned, 0 to make" in outcome.stdout


@pytest.mark.long
def test_kill_9_in_a_round_makes_no_image_twice(tmp_path):
    project = adaptive_project(tmp_path / "project", "{max: 4, until: 1.39}")
    running = project.start("synthvlm_dagster.cli", "run", start_new_session=True)
    deadline = time.monotonic() + 240
    while len(project.image_ids()) <= CAPTIONS:
        assert running.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert "at most" in project.synthvlm("plan").stdout
    kept = file_times(project)
    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert kept.items() <= file_times(project).items()
    assert_complete(project, 1.39)
