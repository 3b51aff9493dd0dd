"""Why a run failed, in a few lines for people."""

from __future__ import annotations

import re
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from synthvlm_dagster.operations.notifications.secrets import masked

_LINES = 8
"""Of each step's error; the event log has it whole, with the stack traces."""
_WIDTH = 500
"""Characters of a line."""
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+: )")
"""Of the error's class; it tells a person nothing."""


def failure_in_words(instance: dg.DagsterInstance, run_id: str) -> str:
    """The failed steps of a run, each with the first lines of the error that began it; else what ended the run.

    Args:
        instance: has recorded the run.
        run_id: of a run that failed.

    Returns:
        Lines without stack traces and credentials; empty when nothing is recorded of the failure.
    """
    steps = _events(instance, run_id, dg.DagsterEventType.STEP_FAILURE)
    if steps:
        return "\n".join(f"{event.step_key}: {_first_lines(_cause(event.event_specific_data))}" for event in steps)
    ends = _events(instance, run_id, dg.DagsterEventType.RUN_FAILURE)
    return "\n".join(_first_lines(event.message or _cause(event.event_specific_data)) for event in ends)


def _events(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    records = instance.get_records_for_run(run_id, of_type=kind).records
    return [record.event_log_entry.dagster_event for record in records if record.event_log_entry.dagster_event]


def _cause(failure: Any) -> str:
    """What a failure says that was raised on purpose, or the message of the error inside those of Dagster."""
    described = getattr(failure, "user_failure_data", None)
    if described is not None and described.description:
        return str(described.description)
    return error_inside(getattr(failure, "error", None))


def error_inside(error: SerializableErrorInfo | None) -> str:
    """Message of the error inside those of Dagster; what it came from in turn is not what a person can act on."""
    while error is not None and error.cause is not None and str(error.cls_name).startswith("Dagster"):
        error = error.cause
    return _MODULE.sub("", error.message) if error is not None else ""


def _first_lines(text: str) -> str:
    lines = [line[:_WIDTH] for line in masked(text).strip().splitlines() if line.strip()]
    return "\n".join([*lines[:_LINES], *(["…"] if len(lines) > _LINES else [])])
