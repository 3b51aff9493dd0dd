"""What a run's tags say of the processes behind it."""

from __future__ import annotations

import json
from dataclasses import asdict

import dagster as dg

from synthvlm_dagster.operations.runs.processes import Process, boot, this_process

WORKER_TAG = "synthvlm/worker"
"""Which process works on the run."""

LAUNCHER_TAG = "synthvlm/launcher"
"""Which process asked a code server of the same machine to start a worker."""


def worker_tag(run_id: str) -> dict[str, str]:
    """Tag of a run that this process works on."""
    return {WORKER_TAG: _dump(run_id)}


def launcher_tag(run_id: str) -> dict[str, str]:
    """Tag of a run whose worker this process has started on this machine."""
    return {LAUNCHER_TAG: _dump(run_id)}


def worker_of(run: dg.DagsterRun) -> Process | None:
    """The process that works on a run, once it has said so."""
    found = _load(run, WORKER_TAG)
    return found[0] if found else None


def launcher_of(run: dg.DagsterRun) -> tuple[Process, str] | None:
    """The process that launched a run on its own machine, and the boot of the machine it was in."""
    return _load(run, LAUNCHER_TAG)


def _dump(run_id: str) -> str:
    return json.dumps({"run": run_id, **asdict(this_process()), "boot": boot()})


def _load(run: dg.DagsterRun, tag: str) -> tuple[Process, str] | None:
    """None also when the tag was copied from another run, as Dagster does when it executes a run again."""
    content = json.loads(run.tags.get(tag, "{}"))
    if content.get("run") != run.run_id:
        return None
    return Process(content["host"], content["pid"], content["started"]), content["boot"]
