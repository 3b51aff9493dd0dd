"""Unfinished runs on a real instance, as processes that are gone, alive or elsewhere have left them."""

import json
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from synthvlm_dagster.operations.runs import dead_runs
from synthvlm_dagster.operations.runs.dead_runs import end_dead_runs
from synthvlm_dagster.operations.runs.sensors import dead_runs as dead_runs_sensor
from synthvlm_dagster.operations.runs.tags import LAUNCHER_TAG, WORKER_TAG, launcher_tag, worker_tag
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import load_recipe

STARTING, STARTED, CANCELING = dead_runs.UNFINISHED
FAILURE, CANCELED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
GONE = {"pid": 999_999_999, "started": "long ago"}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.job
def nothing():
    pass


def a_run(instance, status, **tags):
    """A run with tags whose values are made from its id."""
    run = instance.create_run_for_job(nothing)
    instance.add_run_tags(run.run_id, {f"synthvlm/{name}": make(run.run_id) for name, make in tags.items()})
    event = {STARTING: "PIPELINE_STARTING", STARTED: "PIPELINE_START", CANCELING: "PIPELINE_CANCELING"}[status]
    instance.report_dagster_event(dg.DagsterEvent(event, "nothing"), run_id=run.run_id)
    return instance.get_run_by_id(run.run_id)


def worker(run_id, **changed):
    return json.dumps(json.loads(worker_tag(run_id)[WORKER_TAG]) | changed)


def launcher(run_id, **changed):
    return json.dumps(json.loads(launcher_tag(run_id)[LAUNCHER_TAG]) | changed)


def status(instance, run):
    return instance.get_run_by_id(run.run_id).status


@pytest.mark.parametrize(("before", "after"), [(STARTED, FAILURE), (STARTING, FAILURE), (CANCELING, CANCELED)])
def test_a_run_whose_worker_is_gone_is_ended(instance, before, after):
    run = a_run(instance, before, worker=lambda run: worker(run, **GONE))
    [(ended, reason)] = end_dead_runs(instance)
    assert ended.run_id == run.run_id
    assert "999999999" in reason
    assert status(instance, run) == after
    assert not end_dead_runs(instance)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({"worker": worker}, id="worker alive"),
        pytest.param({"worker": lambda run: worker(run, host="another-000000", **GONE)}, id="worker elsewhere"),
        pytest.param({"worker": lambda _: worker("its parent", **GONE)}, id="worker of the run it repeats"),
        pytest.param({}, id="started in an unknown way"),
        pytest.param({"launcher": launcher}, id="no worker yet"),
        pytest.param({"launcher": lambda run: launcher(run, **GONE)}, id="launched a moment ago"),
        pytest.param({"launcher": lambda run: launcher(run, host="another-000000", boot="?")}, id="launched elsewhere"),
        pytest.param({"launcher": lambda _: launcher("its parent", boot="?")}, id="launcher of the run it repeats"),
    ],
)
@pytest.mark.parametrize("before", [STARTING, STARTED, CANCELING])
def test_a_run_that_may_have_a_process_is_left_alone(instance, before, tags):
    run = a_run(instance, before, **tags)
    assert not end_dead_runs(instance)
    assert status(instance, run) == before


def test_a_restart_of_the_machine_ends_what_was_launched_before(instance):
    run = a_run(instance, STARTING, launcher=lambda run: launcher(run, boot="the one before"))
    [(_, reason)] = end_dead_runs(instance)
    assert "was restarted" in reason
    assert status(instance, run) == FAILURE


def test_before_the_worker_has_its_tag_dagsters_own_event_tells_its_pid(instance):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = a_run(instance, STARTING, launcher=launcher)
        message = f"Started process for run (pid: {process.pid})."
        instance.report_engine_event(message, run, EngineEventData.in_process(process.pid))
        assert not end_dead_runs(instance)
        process.kill()
        process.wait()
        [(_, reason)] = end_dead_runs(instance)
        assert str(process.pid) in reason
    assert status(instance, run) == FAILURE


def test_a_launcher_that_was_killed_before_it_launched(instance, monkeypatch):
    run = a_run(instance, STARTING, launcher=lambda run: launcher(run, **GONE))
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    [(_, reason)] = end_dead_runs(instance)
    assert "no worker started" in reason
    assert status(instance, run) == FAILURE


def test_a_run_that_ended_while_it_was_looked_at_keeps_its_end(instance, monkeypatch):
    run = a_run(instance, STARTED, worker=lambda run: worker(run, **GONE))
    why_dead = dead_runs.why_dead

    def its_worker_ends_just_now(instance, run):
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "nothing"), run_id=run.run_id)
        return why_dead(instance, run)

    monkeypatch.setattr(dead_runs, "why_dead", its_worker_ends_just_now)
    assert not end_dead_runs(instance)
    assert status(instance, run) == dg.DagsterRunStatus.SUCCESS


def test_the_sensor_says_what_it_did(instance):
    a_run(instance, STARTED, worker=lambda run: worker(run, **GONE))
    context = dg.build_sensor_context(instance)
    sensor = dead_runs_sensor(Dataset(load_recipe("demo")))
    assert "1 runs" in sensor(context).skip_message
    assert sensor(context).skip_message == "every run has its process"
