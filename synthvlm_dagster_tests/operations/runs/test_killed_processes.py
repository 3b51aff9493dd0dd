"""Real services, real runs, kill -9: what becomes of the runs, their processes and their slots of the pool `gpu`."""

import time

import dagster as dg
import pytest
import yaml
from dagster._core.events.log import EventLogEntry

from synthvlm_dagster.operations.runs.gpu_pool import set_pool_limit
from synthvlm_dagster_tests.end_to_end.deployment import (
    CODE_SERVER,
    Deployment,
    kill_process,
    live_workers,
    wait_until,
)
from synthvlm_dagster_tests.end_to_end.project import make_project
from synthvlm_dagster_tests.operations.runs.waiting_definitions import DONE, GPUS

SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
# The promise is one, on a machine that is not busy with other tests.
MINUTES = 2 * 60


class Waiting:
    """Services over `waiting_definitions`, with a pool of two."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance
        self.folder = deployment.project.folder

    def launch(self) -> str:
        (self.folder / DONE).unlink(missing_ok=True)
        return self.deployment.launch_run("waiting")

    def let_go(self) -> None:
        (self.folder / DONE).touch()

    def gpu(self, run: str) -> str | None:
        file = self.folder / run
        return file.read_text() if file.exists() else None

    def wait_for_gpu(self, run: str) -> str:
        wait_until(lambda: self.gpu(run), f"run {run} has a GPU")
        return self.gpu(run)

    def pid(self, run: str) -> int | None:
        return live_workers(self.instance).get(run)

    def status(self, run: str) -> dg.DagsterRunStatus:
        return self.instance.get_run_by_id(run).status

    def wait_for(self, run: str, status: dg.DagsterRunStatus, seconds: float = 240) -> None:
        wait_until(lambda: self.status(run) == status, f"run {run} is {status.value}", seconds)

    def retry_of(self, run: str) -> str:
        """The run that Dagster started again."""
        runs = []

        def found():
            runs[:] = self.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run}))
            return runs

        wait_until(found, f"a retry of run {run}")
        return runs[0].run_id


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("killed") / "project")
    settings = yaml.safe_load((project.folder / "dagster.yaml").read_text())
    settings["run_retries"]["max_retries"] = 1
    (project.folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    deployment = Deployment(project, "synthvlm_dagster_tests.operations.runs.waiting_definitions")
    with deployment.instance() as instance:
        set_pool_limit(instance, 2)
        deployment.start()
        try:
            yield Waiting(deployment, instance)
        finally:
            deployment.stop()


def test_as_many_runs_as_gpus_each_on_its_own(waiting):
    runs = [waiting.launch() for _ in range(3)]
    wait_until(lambda: sum(waiting.gpu(run) is not None for run in runs) == 2, "two runs have a GPU")
    [first, second, third] = sorted(runs, key=lambda run: waiting.gpu(run) is None)
    assert {waiting.gpu(first), waiting.gpu(second)} == set(GPUS)
    assert waiting.status(third) == dg.DagsterRunStatus.QUEUED
    waiting.let_go()
    for run in runs:
        waiting.wait_for(run, SUCCESS)


def test_a_run_outlives_its_killed_code_server_and_can_still_be_cancelled(waiting):
    kept, cancelled = waiting.launch(), waiting.launch()
    for run in (kept, cancelled):
        waiting.wait_for_gpu(run)
    waiting.deployment.kill(CODE_SERVER)
    waiting.deployment.start(CODE_SERVER)
    waiting.deployment.terminate_run(cancelled)
    waiting.wait_for(cancelled, dg.DagsterRunStatus.CANCELED, MINUTES)
    assert waiting.pid(kept)
    waiting.let_go()
    waiting.wait_for(kept, SUCCESS)
    assert not live_workers(waiting.instance)


def test_a_killed_orphan_frees_its_slot_within_a_minute_and_is_tried_again(waiting):
    run = waiting.launch()
    gpu = waiting.wait_for_gpu(run)
    waiting.deployment.kill(CODE_SERVER)
    kill_process(waiting.pid(run))
    waiting.deployment.start(CODE_SERVER)
    waiting.wait_for(run, FAILURE, MINUTES)
    again = waiting.retry_of(run)
    assert waiting.wait_for_gpu(again) == gpu
    waiting.let_go()
    waiting.wait_for(again, SUCCESS)


def test_a_power_cut_leaves_no_zombie(waiting):
    run = waiting.launch()
    waiting.wait_for_gpu(run)
    waiting.deployment.stop()
    assert waiting.status(run) == dg.DagsterRunStatus.STARTED
    waiting.deployment.start()
    waiting.wait_for(run, FAILURE, MINUTES)
    again = waiting.retry_of(run)
    waiting.wait_for_gpu(again)
    waiting.let_go()
    waiting.wait_for(again, SUCCESS)


@pytest.mark.long
def test_a_retry_that_the_daemon_missed_is_launched(waiting):
    """Dagster records a failure in two writes; its daemon looks between them, and never again."""
    run = waiting.launch()
    waiting.wait_for_gpu(run)
    instance = waiting.instance
    failure = dg.DagsterEvent(dg.DagsterEventType.RUN_FAILURE.value, "waiting", message="killed")
    entry = EventLogEntry(None, "error", "", run, time.time(), job_name="waiting", dagster_event=failure)
    instance.event_log_storage.store_event(entry)
    event_id = instance.event_log_storage.get_maximum_record_id()
    wait_until(lambda: int(looked_up_to(instance)) >= event_id, "the daemon has looked")
    assert waiting.status(run) == dg.DagsterRunStatus.STARTED

    instance.run_storage.handle_run_event(run, failure)
    instance.add_run_tags(run, {"dagster/will_retry": "true"})
    again = waiting.retry_of(run)
    waiting.wait_for_gpu(again)
    waiting.let_go()
    waiting.wait_for(again, SUCCESS)


def looked_up_to(instance: dg.DagsterInstance) -> str:
    """The last failure that Dagster's daemon has looked at."""
    key = f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_FAILURE.value}"
    return instance.daemon_cursor_storage.get_cursor_values({key}).get(key, "0")
