"""A file arrives: the sensor's request, the run, the shards with new captions, the dataset; and a run that fails."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.images.plan import read_plan
from synthvlm_dagster.operations.arrival.sensor import new_captions
from synthvlm_dagster.operations.notifications import failed_runs as failed_runs_module
from synthvlm_dagster.operations.notifications.failed_runs import UI_VARIABLE, failed_runs
from synthvlm_dagster.operations.notifications.webhook import WEBHOOK_VARIABLE
from synthvlm_dagster.operations.refresh import LAUNCHED_BY_TAG, REFRESH_JOB, refresh_dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.storage import Storage
from synthvlm_dagster_tests.operations.small_pipeline import caption, run_job, small_recipe, work_left


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    (folder / "first.txt").write_text("\n".join(caption(number) for number in range(4)) + "\n")
    return folder


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path, folder: Path) -> Recipe:
    operations = {"new_captions": {"settle_seconds": 0}}
    return small_recipe(tiny_recipe, tiny_clip_folder, f"{folder}/*.txt", operations=operations)


@pytest.fixture
def instance(tmp_path: Path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def test_a_file_that_arrives_comes_into_the_dataset_and_costs_only_its_shards(recipe, folder, instance):
    storage = Storage(recipe.storage)
    request, cursor = settled_look(recipe, instance, None)
    first = refresh(recipe, instance, request)
    assert first.success
    assert work_left(recipe, instance) == []
    old = set(read_plan(recipe, storage)["image_id"])
    kept = {path: Path(storage.url(path)).stat().st_mtime_ns for path in storage.files("images")}

    (folder / "second.txt").write_text(caption(10) + "\n" + caption(11) + "\n")
    request, cursor = settled_look(recipe, instance, cursor)
    assert "second.txt" in str(request.run_config)
    second = refresh(recipe, instance, request)
    assert second.success
    assert work_left(recipe, instance) == []
    plan = read_plan(recipe, storage)
    arrived = plan.filter(~pl.col("image_id").is_in(old))
    assert arrived.height == 2
    launched = instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: second.run_id}))
    made = [partition for run in launched for partition in partitions_of(instance, run, "generated_images")]
    assert sorted(made) == sorted(set(arrived["shard"]))
    assert {path: Path(storage.url(path)).stat().st_mtime_ns for path in kept} == kept
    assert storage.scan("dataset/selected").collect().height == 3
    assert len(json.loads(storage.read_bytes("dataset/llava/synthvlm.json"))) == 3

    third = refresh(recipe, instance, request)
    assert third.success
    assert instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: third.run_id})) == []


def test_a_refresh_that_fails_names_the_run_and_its_error_and_is_told(recipe, folder, instance, monkeypatch):
    (folder / "second.txt").write_bytes(b"\xff\xfe\x00bad\n" * 50)
    stuck = instance.create_run_for_job(
        refresh_dataset,
        tags={LAUNCHED_BY_TAG: abandoned(instance).run_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    result = refresh(recipe, instance)
    assert not result.success
    assert instance.get_run_by_id(stuck.run_id).status == dg.DagsterRunStatus.FAILURE
    [failed] = instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY_TAG: result.run_id}))
    [event] = [event for event in result.all_events if event.is_step_failure]
    message = event.event_specific_data.user_failure_data.description
    assert message.startswith(f"run {failed.run_id}: raw_captions: CaptionSourceError: source mine: ")
    assert "second.txt" in message

    told: list[tuple[str, str, dict[str, str]]] = []
    monkeypatch.setattr(failed_runs_module, "notify", lambda *message: told.append(message))
    context = dg.build_run_status_sensor_context(
        "failed_runs",
        result.get_job_failure_event(),
        instance,
        result.dagster_run,
        resources={"recipe": recipe},
    ).for_run_failure()
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    assert "is not set" in failed_runs(context).skip_message
    assert told == []

    monkeypatch.setenv(WEBHOOK_VARIABLE, "http://127.0.0.1:9/hook")
    monkeypatch.setenv(UI_VARIABLE, "http://127.0.0.1:3000/")
    assert failed_runs(context) is None
    [(title, text, facts)] = told
    assert title == "Failed: refresh_dataset"
    link = f"http://127.0.0.1:3000/runs/{result.run_id}"
    assert facts == {"recipe": "tiny", "what": "refresh_dataset", "run": result.run_id, "link": link}
    assert message.splitlines()[0][:200] in text
    assert link in text


def settled_look(recipe, instance, cursor) -> tuple[dg.RunRequest, str]:
    """What the sensor asks for after as many looks as it needs."""
    for _ in range(2):
        result = new_captions(
            dg.build_sensor_context(
                instance, cursor=cursor, resources={"recipe": recipe, "storage": Storage(recipe.storage)}
            )
        )
        cursor = result.cursor
    [request] = result.run_requests
    return request, cursor


def refresh(recipe, instance, request: dg.RunRequest | None = None) -> dg.ExecuteInProcessResult:
    return run_job(recipe, instance, REFRESH_JOB, request.run_config if request else None)


def partitions_of(instance, run: dg.DagsterRun, asset: str) -> Counter[str]:
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return Counter(event.partition for event in events if event.asset_key == dg.AssetKey(asset))


def abandoned(instance) -> dg.DagsterRun:
    """A refresh that was killed, and has been recorded as failed since."""
    run = instance.create_run_for_job(refresh_dataset)
    instance.report_run_failed(run)
    return run
