"""One look at the caption files of a dataset: whether they have changed and are whole, and what is launched then."""

from __future__ import annotations

import time

import dagster as dg
import polars as pl

from synthvlm_dagster.captions.made_from import source_version
from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.arrival.patience import Caller
from synthvlm_dagster.operations.arrival.watch import (
    Changes,
    Watch,
    compare_files,
    files_version,
    look_at_files,
    why_unfit,
)
from synthvlm_dagster.operations.notifications.secrets import masked
from synthvlm_dagster.operations.refresh import refresh_config
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.store.storage import Storage

WATCHED_TABLE = "captions/watched"
"""The files of the last launch, to tell a person what has changed since; the cursor holds their fingerprint alone."""

_SCHEMA = pl.Schema({"file": pl.String(), "mark": pl.String()})
# Not NOT_STARTED: so stands a run whose launch broke off when the daemon was killed. Asked for again, it is launched.
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING]
_FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_RUN_KEY_TAG = "dagster/run_key"
_caller = Caller()


def look(context: dg.SensorEvaluationContext, dataset: Dataset, job: str) -> dg.SensorResult:
    """What the sensor `new_captions` does each time.

    Args:
        context: of the sensor; its cursor tells what earlier looks have found.
        dataset: whose sources are looked at.
        job: name of the job that takes captions in.
    """
    recipe, storage = dataset.recipe, dataset.storage
    settings = recipe.operations.new_captions
    watch = Watch.from_cursor(context.cursor)
    try:
        files, before = _caller.call(
            lambda: (look_at_files(recipe.sources), _files_of_last_launch(storage, watch)), settings.answer_seconds
        )
    # Every filesystem has errors of its own, and the next look may find it mended.
    except Exception as error:
        return _skip(watch, _why_not(error))
    version = files_version(files)
    watch = watch.after_look(version, time.time())
    failed = _last_run_failed(context.instance, job, watch)
    if version == watch.handled:
        hint = f", since run {failed} failed. Mend its cause, then launch {job} again" if failed else ""
        return _skip(watch, f"no caption file is new or has changed, of {len(files):,}{hint}")

    changes = compare_files(before, files)
    if changes.gone and not (changes.new or changes.changed or failed):
        return _skip(watch, f"{changes.in_words()}. That removes nothing; the next refresh will do without")
    remaining = watch.seconds_to_settle(time.time(), settings.settle_seconds)
    if remaining is not None:
        return _skip(watch, f"{changes.in_words()}. Waiting until they stay as they are, {remaining:.0f} s at least")
    return _launch(context, dataset, job, watch, files, changes)


def _launch(
    context: dg.SensorEvaluationContext,
    dataset: Dataset,
    job: str,
    watch: Watch,
    files: dict[str, str],
    changes: Changes,
) -> dg.SensorResult:
    recipe, storage = dataset.recipe, dataset.storage
    waiting = context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=_WAITING), limit=1)
    if waiting:
        return _skip(watch, f"{changes.in_words()}. Run {waiting[0].run_id} has to be started first")
    touched = [*changes.new, *changes.changed]

    def prepare() -> tuple[bool, str | None]:
        read_before = not watch.handled and _read_version(context.instance, dataset) == source_version(recipe.sources)
        problem = why_unfit(recipe.sources, touched)
        if problem is None:
            # Before the cursor, which tells whether it is the table of that launch.
            storage.write_table(WATCHED_TABLE, pl.DataFrame(sorted(files.items()), schema=_SCHEMA, orient="row"))
        return read_before, problem

    try:
        read_before, problem = _caller.call(prepare, recipe.operations.new_captions.answer_seconds)
    # As above.
    except Exception as error:
        return _skip(watch, _why_not(error))
    if problem is not None:
        return _skip(watch, f"nothing is launched: {problem}")
    handled = watch.after_launch()
    if read_before:
        return _skip(handled, f"the {len(files):,} caption files have been read before; from now on they are watched")
    request = dg.RunRequest(
        run_key=watch.next_run_key(),
        run_config=refresh_config(dataset, f"caption files {masked(changes.in_words())}"),
    )
    return dg.SensorResult(run_requests=[request], cursor=handled.model_dump_json())


def _files_of_last_launch(storage: Storage, watch: Watch) -> dict[str, str]:
    """Name → mark; empty where the table is gone, or is that of a launch that was never noted."""
    if not storage.has_table(WATCHED_TABLE):
        return {}
    files = dict(storage.scan(WATCHED_TABLE).select(_SCHEMA.names()).collect().iter_rows())
    return files if files_version(files) == watch.handled else {}


def _last_run_failed(instance: dg.DagsterInstance, job: str, watch: Watch) -> str | None:
    """Id of the run that was launched last, if it has failed or was canceled."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags={_RUN_KEY_TAG: watch.last_run_key()}), limit=1)
    return next((run.run_id for run in runs if run.status in _FAILED), None)


def _read_version(instance: dg.DagsterInstance, dataset: Dataset) -> str | None:
    """`source_version` of the captions that were read last."""
    for record in instance.fetch_materializations(dataset.key("raw_captions"), limit=1).records:
        version = record.asset_materialization and record.asset_materialization.metadata.get("source_version")
        return str(version.value) if version else None
    return None


def _why_not(error: Exception) -> str:
    kind = "" if isinstance(error, SynthVLMError) else f"{type(error).__name__}: "
    return f"nothing is launched: {kind}{error}"


def _skip(watch: Watch, reason: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=masked(reason), cursor=watch.model_dump_json())
