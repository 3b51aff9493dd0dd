"""A project under `dagster dev`: web server, daemon and code server, as a user leaves them running."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from synthvlm_dagster_tests.end_to_end.project import Project

_LAUNCH_BACKFILL = """
mutation ($assets: [AssetKeyInput!], $partitions: [String!]) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $partitions}) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_LAUNCH_JOB = """
mutation ($selector: JobOrPipelineSelector!, $config: RunConfigData) {
  launchRun(executionParams: {selector: $selector, runConfigData: $config}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""


@dataclass(frozen=True)
class Served:
    """A running `dagster dev`, and the instance it works on."""

    url: str
    project: Project
    instance: dg.DagsterInstance

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """Answer of the GraphQL API."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def backfill(self, assets: Sequence[str], shards: Sequence[str]) -> str:
        """Launch a backfill as the UI does; returns its id."""
        keys = [{"path": [asset]} for asset in assets]
        answer = self.query(_LAUNCH_BACKFILL, assets=keys, partitions=list(shards))["launchPartitionBackfill"]
        assert "backfillId" in answer, answer
        return answer["backfillId"]

    def launch(self, job: str, config: dict[str, Any]) -> str:
        """Launch a job as the launchpad does; returns the run's id."""
        selector = {
            "repositoryLocationName": "synthvlm_dagster",
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        answer = self.query(_LAUNCH_JOB, selector=selector, config=json.dumps(config))["launchRun"]
        assert "run" in answer, answer
        return answer["run"]["runId"]

    def wait_for(self, done: Callable[[], Any], what: str, seconds: float = 240) -> Any:
        """Wait until `done()` is true; returns what it gave."""
        deadline = time.monotonic() + seconds
        while not (found := done()):
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.5)
        return found

    def backfill_end(self, backfill_id: str) -> str:
        """Wait for the end of a backfill; returns its status."""

        def ended() -> str | None:
            backfill = self.instance.get_backfill(backfill_id)
            status = backfill.status.value if backfill else "REQUESTED"
            return status if status not in ("REQUESTED", "CANCELING", "FAILING") else None

        return self.wait_for(ended, "the end of the backfill", 500)

    def run_end(self, run_id: str) -> dg.DagsterRun:
        """Wait for the end of a run."""

        def ended() -> dg.DagsterRun | None:
            run = self.instance.get_run_by_id(run_id)
            return run if run and run.is_finished else None

        return self.wait_for(ended, "the end of the run")


@contextmanager
def served(project: Project) -> Iterator[Served]:
    """Run `dagster dev` over a project, on a port of its own; everything it started ends with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Opened first: two processes that lay out the same database at once get in each other's way.
    with (
        dg.DagsterInstance.from_config(str(project.home)) as instance,
        (project.folder / "dagster-dev.log").open("w") as log,
    ):
        server = project.start(
            *("dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            running = Served(f"http://127.0.0.1:{port}", project, instance)
            running.wait_for(lambda: _answers(running), "the web server", 180)
            yield running
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGKILL)


def _answers(running: Served) -> bool:
    try:
        return bool(running.query("{ assetNodes { id } }")["assetNodes"])
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
