"""A file arrives: the sensor's request, the run, the shards with new captions, the dataset; and a run that fails."""

import json
import subprocess
from pathlib import Path

import dagster as dg
import polars as pl

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.operations.arrival.sensor import new_captions
from synthvlm_dagster.operations.notifications import failed_runs as failed_runs_module
from synthvlm_dagster.operations.notifications.failed_runs import UI_VARIABLE, failed_runs
from synthvlm_dagster.operations.notifications.webhook import WEBHOOK_VARIABLE
from synthvlm_dagster.operations.refresh import LAUNCHED_BY_TAG, REFRESH_JOB, refresh_dataset
from synthvlm_dagster.operations.runs.lost_retries import LOST_RETRY
from synthvlm_dagster_tests.end_to_end.project import make_project
from synthvlm_dagster_tests.operations.small_pipeline import SmallProject, caption


def test_a_file_that_arrives_comes_into_the_dataset_and_costs_only_its_shards(small_project):
    project, storage = small_project, small_project.storage
    assert project.work_left() == {}
    cursor = look(project, None, looks=2).cursor
    old = set(read_plan(project.recipe, storage)["image_id"])
    kept = {path: Path(storage.url(path)).stat().st_mtime_ns for path in storage.files("images")}
    selected = storage.scan("dataset/selected").collect().height

    (project.incoming / "second.txt").write_text(f"{caption(10)}\n{caption(11)}\n")
    [request] = look(project, cursor, looks=2).run_requests
    result = project.run_job(REFRESH_JOB, request.run_config)
    assert result.success
    assert project.work_left() == {}
    arrived = read_plan(project.recipe, storage).filter(~pl.col("image_id").is_in(old))
    assert arrived.height == 2
    launched = project.instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: result.run_id}))
    made = [shard for run in launched for shard in shards_made(project, run.run_id, "generated_images")]
    assert sorted(made) == sorted(set(arrived["shard"]))
    assert {path: Path(storage.url(path)).stat().st_mtime_ns for path in kept} == kept
    assert storage.scan("dataset/selected").collect().height == selected + 1
    assert len(json.loads(storage.read_bytes("dataset/llava/synthvlm.json"))) == selected + 1

    again = project.run_job(REFRESH_JOB, request.run_config)
    assert again.success
    assert project.instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: again.run_id})) == []


def test_a_refresh_that_fails_names_the_run_and_its_error_and_is_told(small_project, monkeypatch):
    project, instance = small_project, small_project.instance
    job = refresh_dataset(project.dataset)
    killed = instance.create_run_for_job(job)
    instance.report_run_failed(killed)
    left_behind = instance.create_run_for_job(
        job, tags={LAUNCHED_BY_TAG: killed.run_id}, status=dg.DagsterRunStatus.STARTED
    )
    broken = project.incoming / "broken.txt"
    broken.write_bytes("A house.\n".encode("utf-16"))
    try:
        result = project.run_job(REFRESH_JOB)
    finally:
        broken.unlink()
    assert not result.success
    assert instance.get_run_by_id(left_behind.run_id).status == dg.DagsterRunStatus.FAILURE
    [failed] = instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: result.run_id}))
    [event] = [event for event in result.all_events if event.is_step_failure]
    message = event.event_specific_data.user_failure_data.description
    assert message.startswith(f"run {failed.run_id}: raw_captions: CaptionSourceError: source mine: ")
    assert "broken.txt" in message

    told: list[tuple[str, str, dict[str, str]]] = []
    monkeypatch.setattr(failed_runs_module, "notify", lambda *message: told.append(message))
    sensor = failed_runs(project.dataset, set(), {REFRESH_JOB})
    [end] = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    context = dg.build_run_status_sensor_context("failed_runs", end, instance, result.dagster_run).for_run_failure()
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    assert "is not set" in sensor(context).skip_message
    assert told == []

    monkeypatch.setenv(WEBHOOK_VARIABLE, "http://127.0.0.1:9/hook")
    monkeypatch.setenv(UI_VARIABLE, "http://127.0.0.1:3000/")
    assert sensor(context) is None
    [(title, text, facts)] = told
    assert title == "Failed: refresh_dataset"
    link = f"http://127.0.0.1:3000/runs/{result.run_id}"
    assert facts == {"recipe": "tiny", "what": "refresh_dataset", "run": result.run_id, "link": link}
    assert message.splitlines()[0][:200] in text
    assert link in text

    of_another = failed_runs(project.dataset, {dg.AssetKey(["other", "generated_images"])}, {"other__refresh_dataset"})
    assert "something else" in of_another(context).skip_message
    assert len(told) == 1

    asked_again = dg.DagsterEvent(end.event_type_value, end.job_name, message=LOST_RETRY)
    context = dg.build_run_status_sensor_context(
        "failed_runs", asked_again, instance, result.dagster_run
    ).for_run_failure()
    assert "has been told of" in sensor(context).skip_message
    assert len(told) == 1


def test_a_run_of_shards_is_told_by_its_assets_and_shards():
    run = dg.DagsterRun(
        "__ASSET_JOB",
        run_id="ab12",
        asset_selection={dg.AssetKey("generated_images")},
        tags={"dagster/asset_partition_range_start": "0002", "dagster/asset_partition_range_end": "0005"},
    )
    assert failed_runs_module.describe_run(run) == {
        "what": "generated_images",
        "shards": "0002–0005",
        "run": "ab12",
    }


def look(project: SmallProject, cursor: str | None, looks: int) -> dg.SensorResult:
    """What the last of some looks of the sensor says."""
    sensor = new_captions(project.dataset, refresh_dataset(project.dataset))
    for _ in range(looks):
        result = sensor(dg.build_sensor_context(project.instance, cursor))
        cursor = result.cursor
    return result


def shards_made(project: SmallProject, run_id: str, asset: str) -> list[str]:
    records = project.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return [event.partition for event in events if event.asset_key == dg.AssetKey(asset)]


def test_a_refresh_in_a_process_of_its_own_finds_its_code_location(tmp_path):
    project = make_project(tmp_path / "project", captions=1)
    (project.folder / "captions.csv").unlink()
    command = ("job", "execute", "-m", "synthvlm_dagster.definitions", "-j", REFRESH_JOB)
    process = project.start("dagster", *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "raw_captions: CaptionSourceError: source mine: " in output
    assert "no such file" in output
