import time
from contextlib import suppress
from uuid import uuid4

import dagster as dg
import pytest

from synthvlm_dagster.operations.runs import watch
from synthvlm_dagster.operations.runs.watch import watched


@pytest.fixture
def instance(monkeypatch):
    monkeypatch.setattr(watch, "SECONDS_BETWEEN_LOOKS", 0.05)
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def execute(instance, at_work):
    """Executes a run in this process, as `synthvlm run` does; returns its status. The work must be interrupted."""
    run_id = str(uuid4())

    @dg.op
    def work(context):
        at_work(context.run)
        time.sleep(60)
        raise AssertionError("was not interrupted")

    @dg.job
    def job():
        work()

    with watched(instance, run_id), suppress(dg.DagsterExecutionInterruptedError):
        job.execute_in_process(instance=instance, run_id=run_id, raise_on_error=False)
    return instance.get_run_by_id(run_id).status


def test_a_cancelled_run_that_no_code_server_can_reach_stops(instance):
    assert execute(instance, instance.report_run_canceling) == dg.DagsterRunStatus.CANCELED


def test_a_run_that_was_ended_elsewhere_stops_and_keeps_its_end(instance):
    assert execute(instance, instance.report_run_canceled) == dg.DagsterRunStatus.CANCELED
    assert execute(instance, instance.report_run_failed) == dg.DagsterRunStatus.FAILURE


def test_a_run_that_goes_on_is_let_be(instance):
    @dg.job
    def job():
        @dg.op
        def work():
            time.sleep(0.5)

        work()

    run_id = str(uuid4())
    with watched(instance, run_id):
        assert job.execute_in_process(instance=instance, run_id=run_id).success
