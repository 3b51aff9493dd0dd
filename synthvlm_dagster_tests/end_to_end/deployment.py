"""A project served as on a machine that stays up: code server, daemon and web server, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
import psutil
import yaml

from synthvlm_dagster.operations.runs.dead_runs import UNFINISHED
from synthvlm_dagster.operations.runs.tags import worker_of
from synthvlm_dagster_tests.end_to_end.project import Project

CODE_SERVER, DAEMON, WEB_SERVER = "code server", "daemon", "web server"
# A backfill waits for its code server, in place of failing.
SETTINGS = {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}
LAUNCH_RUN = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
LAUNCH_BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
TERMINATE_RUN = """
mutation($run: String!) {
  terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } ... on PythonError { message } }
}
"""


@dataclass
class Deployment:
    """The services of a project; whoever starts them stops them."""

    project: Project
    module: str = "synthvlm_dagster.definitions"
    code_port: int = field(default_factory=lambda: free_port())
    web_port: int = field(default_factory=lambda: free_port())
    services: dict[str, subprocess.Popen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        server = {"host": "localhost", "port": self.code_port, "location_name": "synthvlm_dagster"}
        workspace = {"load_from": [{"grpc_server": server}]}
        (self.project.folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        module = ("--module-name", self.module, "--location-name", "synthvlm_dagster")
        workspace = ("-w", "workspace.yaml")
        return {
            CODE_SERVER: ("dagster", "api", "grpc", *module, "--host", "localhost", "--port", str(self.code_port)),
            DAEMON: ("dagster._daemon", "run", *workspace),
            WEB_SERVER: ("dagster_webserver", *workspace, "--host", "127.0.0.1", "--port", str(self.web_port)),
        }

    def start(self, *names: str) -> None:
        """Start services, each in a session of its own: no signal to one reaches another."""
        for name in names or self.commands:
            with (self.project.folder / f"{name}.log").open("a") as log:
                self.services[name] = self.project.start(
                    *self.commands[name], environment=SETTINGS, stdout=log, stderr=log, start_new_session=True
                )

    def kill(self, name: str) -> None:
        """kill -9 one process."""
        self.services[name].kill()
        self.services[name].wait()

    def stop(self) -> None:
        """End every process that has to do with the project, its workers too."""
        for process in self.processes():
            with_suppressed(process.kill)
        for service in self.services.values():
            service.wait()

    def processes(self) -> list[psutil.Process]:
        """All processes of the project's Dagster home: services, run workers and what they started."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("DAGSTER_HOME") == str(self.project.home)
                if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def query(self, text: str, **variables) -> dict:
        """Answer of the GraphQL API.

        Raises:
            OSError: the web server does not answer.
        """
        body = json.dumps({"query": text, "variables": variables}).encode()
        address = f"http://127.0.0.1:{self.web_port}/graphql"
        request = urllib.request.Request(address, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if "errors" in answer:
            raise OSError(str(answer["errors"]))
        return answer["data"]

    def launch_backfill(self, assets: tuple[str, ...]) -> str:
        """Materialize assets with all their partitions, as in the UI; returns the id of the backfill."""
        params = {"assetSelection": [{"path": [asset]} for asset in assets], "allPartitions": True}
        return self._request("launchPartitionBackfill", LAUNCH_BACKFILL, params=params)["backfillId"]

    def launch_run(self, job: str, config: dict | None = None) -> str:
        """Queue a run of a job, with what a person writes in the launchpad; returns its id."""
        location = {"repositoryLocationName": "synthvlm_dagster", "repositoryName": "__repository__"}
        params = {"selector": {**location, "jobName": job}, "runConfigData": json.dumps(config or {})}
        return self._request("launchRun", LAUNCH_RUN, params=params)["run"]["runId"]

    def terminate_run(self, run_id: str) -> None:
        """Cancel a run, as in the UI."""
        self._request("terminateRun", TERMINATE_RUN, run=run_id)

    def _request(self, name: str, mutation: str, seconds: float = 300, **variables) -> dict:
        """A mutation, asked again until the services have come up and it succeeds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self.query(mutation, **variables)[name]
                if answer["__typename"].endswith("Success"):
                    return answer
            except (OSError, ValueError) as error:
                answer = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name}: {answer}")
            time.sleep(1)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The project's Dagster instance."""
        with dg.DagsterInstance.from_config(str(self.project.home)) as instance:
            yield instance


def live_workers(instance: dg.DagsterInstance) -> dict[str, int]:
    """Pids of the processes that work on unfinished runs, by run id."""
    workers = {run.run_id: worker_of(run) for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
    return {run: worker.pid for run, worker in workers.items() if worker and not worker.is_gone()}


def kill_process(pid: int) -> None:
    """kill -9; nothing happens when the process has just ended."""
    with_suppressed(lambda: os.kill(pid, signal.SIGKILL))


def with_suppressed(call: Callable[[], None]) -> None:
    """Call, and ignore that a process is no longer there."""
    try:
        call()
    except (psutil.Error, ProcessLookupError):
        return


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(done: Callable[[], object], what: str, seconds: float = 240) -> float:
    """Wait until `done()` is true; returns how long it took, in seconds."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.5)
    return time.monotonic() - began
