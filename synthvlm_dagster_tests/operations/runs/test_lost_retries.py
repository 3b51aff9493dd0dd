"""Failed runs on a real instance whose retry Dagster has launched, refused or lost."""

import time

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from synthvlm_dagster.operations.runs.lost_retries import LOST_RETRY, ask_for_lost_retries
from synthvlm_dagster.operations.runs.sensors import lost_retries
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import load_recipe

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("localhost", 4000), "__repository__"), "nothing"
)
CRASH, ERROR = RunFailureReason.RUN_EXCEPTION, RunFailureReason.STEP_FAILURE
NOT_STARTED, STARTED = dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED
MINUTE = 60


@dg.job
def nothing():
    pass


@pytest.fixture
def instance():
    retries = {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    with dg.instance_for_test(overrides={"run_retries": retries}) as instance:
        yield instance


@pytest.fixture
def wait(monkeypatch):
    """Lets the clock of this process go forward."""
    now, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def a_run(instance, status, parent=None, origin=ORIGIN, tags=None):
    """A run; with a parent, as Dagster makes one that executes another again."""
    parent_id, root_id = (parent.run_id, parent.root_run_id or parent.run_id) if parent else (None, None)
    parentage = {"dagster/parent_run_id": parent_id, "dagster/root_run_id": root_id} if parent else {}
    return instance.create_run_for_job(
        nothing,
        tags=parentage | (tags or {}),
        parent_run_id=parent_id,
        root_run_id=root_id,
        remote_job_origin=origin,
        status=status,
    )


def failed_run(instance, reason=CRASH, parent=None, origin=ORIGIN, **tags):
    run = a_run(instance, STARTED, parent, origin, {f"dagster/{name}": value for name, value in tags.items()})
    instance.report_run_failed(run, "killed", JobFailureData(None, reason))
    return instance.get_run_by_id(run.run_id)


def failures(instance, run):
    """(message, time) of each recorded failure of a run."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    return [(record.event_log_entry.dagster_event.message, record.timestamp) for record in records]


def test_a_lost_retry_is_asked_for_at_the_time_of_the_failure(instance, wait):
    run = failed_run(instance)
    ended = instance.get_run_record_by_id(run.run_id).end_time
    assert not ask_for_lost_retries(instance)
    wait(31)
    assert [found.run_id for found in ask_for_lost_retries(instance)] == [run.run_id]
    [(first, at), (second, again)] = failures(instance, run)
    assert (first, second) == ("killed", LOST_RETRY)
    assert at == pytest.approx(again, abs=1e-6)
    assert instance.get_run_record_by_id(run.run_id).end_time == pytest.approx(ended, abs=1e-6)


def test_a_retry_that_dagster_gave_up_will_be_launched(instance, wait):
    """As Dagster leaves a run whose retry could not be launched."""
    run = failed_run(instance)
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    wait(31)
    ask_for_lost_retries(instance)
    assert instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
    assert instance.get_run_by_id(run.run_id).is_complete_and_waiting_to_retry


def test_it_is_asked_for_six_times_with_growing_pauses(instance, wait):
    run = failed_run(instance)
    asked = []
    for second in range(0, 2 * 60 * MINUTE, 15):
        if ask_for_lost_retries(instance):
            asked.append(second)
        wait(15)
    assert len(asked) == 6 == len(failures(instance, run)) - 1
    pauses = [later - earlier for earlier, later in zip([0, *asked], asked, strict=False)]
    assert all(30 * 2**n <= pause <= 30 * 2**n + 30 for n, pause in enumerate(pauses))
    assert asked[-1] <= 32 * MINUTE


def test_a_retry_that_was_made_and_never_queued_is_asked_for(instance, wait):
    run = failed_run(instance)
    a_run(instance, NOT_STARTED, run)
    wait(31)
    assert ask_for_lost_retries(instance)


@pytest.mark.parametrize("status", sorted(set(dg.DagsterRunStatus) - {NOT_STARTED}, key=str))
def test_a_run_that_was_tried_again_is_left_alone(instance, wait, status):
    run = failed_run(instance)
    a_run(instance, status, run)
    wait(31)
    assert run.run_id not in [found.run_id for found in ask_for_lost_retries(instance)]


def test_a_retry_that_a_person_deleted_is_not_launched_again(instance, wait):
    run = failed_run(instance)
    retry = a_run(instance, NOT_STARTED, run)
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    instance.delete_run(retry.run_id)
    wait(31)
    assert not ask_for_lost_retries(instance)


def test_runs_that_dagster_does_not_try_again_are_left_alone(instance, wait):
    failed_run(instance, ERROR)
    failed_run(instance, origin=None)
    failed_run(instance, max_retries="0")
    failed_run(instance, backfill="deleted")
    instance.add_backfill(PartitionBackfill("over", BulkActionStatus.CANCELED, False, {}, time.time()))
    failed_run(instance, backfill="over")
    for status in set(dg.DagsterRunStatus) - {dg.DagsterRunStatus.FAILURE}:
        a_run(instance, status)
    wait(31)
    assert not ask_for_lost_retries(instance)


def test_a_running_backfill_gets_its_retry(instance, wait):
    instance.add_backfill(PartitionBackfill("running", BulkActionStatus.REQUESTED, False, {}, time.time()))
    run = failed_run(instance, backfill="running")
    wait(31)
    assert [found.run_id for found in ask_for_lost_retries(instance)] == [run.run_id]


def test_after_the_last_retry_nothing_is_owed(instance, wait):
    first = failed_run(instance)
    second = failed_run(instance, parent=first)
    failed_run(instance, parent=second)
    wait(31)
    assert not ask_for_lost_retries(instance)


def test_without_automatic_retries_none_is_owed(wait):
    with dg.instance_for_test(overrides={"run_retries": {"enabled": False}}) as instance:
        failed_run(instance)
        wait(31)
        assert not ask_for_lost_retries(instance)


def test_the_sensor_says_what_it_did(instance, wait):
    failed_run(instance)
    wait(31)
    sensor, context = lost_retries(Dataset(load_recipe("demo"))), dg.build_sensor_context(instance)
    assert "1 retries" in sensor(context).skip_message
    assert sensor(context).skip_message == "no retry is owed"
