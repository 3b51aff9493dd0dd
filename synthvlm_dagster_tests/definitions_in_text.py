"""Definitions as text for people to read and to compare: what a change of the code does to them shows in the diff.

After a change that is meant, renew the texts in `definitions_snapshots/`, and read their diff:

    python -m synthvlm_dagster_tests.definitions_in_text
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.recipe import load_recipe

SNAPSHOTS = Path(__file__).parent / "definitions_snapshots"
RECIPES: dict[str, str | Path] = {"demo": "demo", "everything": SNAPSHOTS / "everything.yaml"}
"""By the name of their snapshot: a packaged recipe or a file."""

Facts = dict[str, object]


def definitions_of(snapshot: str) -> dg.Definitions:
    """The definitions that the snapshot shows."""
    return build_definitions(load_recipe(RECIPES[snapshot]))


def in_text(definitions: dg.Definitions) -> str:
    """All that stands in the definitions, but code versions and links to code: they change with contents and places."""
    parts = {
        "assets": _assets(definitions),
        "checks": _checks(definitions),
        "jobs": _jobs(definitions),
        "schedules": _schedules(definitions),
        "sensors": _sensors(definitions),
        "everywhere": [("runs", _everywhere(definitions))],
    }
    return "\n".join(f"# {title}\n\n" + "".join(_paragraph(*part) for part in found) for title, found in parts.items())


def _paragraph(title: str, facts: Facts) -> str:
    lines = [f"  {name}: {value}" for name, value in facts.items() if value not in ("", None)]
    return "\n".join([title, *lines, "", ""])


def _assets(definitions: dg.Definitions) -> Iterator[tuple[str, Facts]]:
    graph = definitions.resolve_asset_graph()
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(level):
            asset = definitions.resolve_assets_def(key)
            spec = asset.get_asset_spec(key)
            yield (
                key.to_user_string(),
                {
                    "says": _first_paragraph(spec.description),
                    "group": spec.group_name,
                    "depends on": _listed(sorted(dep.asset_key.to_user_string() for dep in spec.deps)),
                    "kinds": _listed(sorted(spec.kinds)),
                    "owners": _listed(spec.owners),
                    "tags": _listed(f"{name}={value}" for name, value in sorted(_own_tags(spec).items())),
                    "partitions": _partitions(spec.partitions_def),
                    "backfills": _backfills(asset.backfill_policy),
                    "pool": asset.op.pool,
                    "made with": _listed(sorted(other.to_user_string() for other in asset.keys - {key})),
                    "settings for one run": _settings(asset.op),
                    "made by itself": spec.automation_condition and spec.automation_condition.get_label(),
                    "freshness": _freshness(spec.freshness_policy),
                },
            )


def _checks(definitions: dg.Definitions) -> Iterator[tuple[str, Facts]]:
    specs = [spec for check in definitions.asset_checks or () for spec in check.check_specs]  # type: ignore[union-attr]
    for spec in sorted(specs, key=lambda spec: (spec.asset_key, spec.name)):
        yield (
            f"{spec.asset_key.to_user_string()}: {spec.name}",
            {
                "says": _first_paragraph(spec.description),
                "blocks what follows": "yes" if spec.blocking else "no",
                "partitions": _partitions(spec.partitions_def),
            },
        )


def _jobs(definitions: dg.Definitions) -> Iterator[tuple[str, Facts]]:
    for job in sorted(definitions.jobs or (), key=lambda job: job.name):
        assert isinstance(job, dg.JobDefinition)
        yield job.name, {"says": _first_paragraph(job.description)}
        for op in job.graph.node_dict.values():
            assert isinstance(op.definition, dg.OpDefinition)
            facts = {"pool": op.definition.pool, "settings for one run": _settings(op.definition)}
            yield f"{job.name}, op {op.name}", facts


def _schedules(definitions: dg.Definitions) -> Iterator[tuple[str, Facts]]:
    for schedule in sorted(definitions.schedules or (), key=lambda schedule: schedule.name):
        assert isinstance(schedule, dg.ScheduleDefinition)
        yield (
            schedule.name,
            {
                "says": _first_paragraph(schedule.description),
                "job": schedule.job_name,
                "starts": f"{schedule.cron_schedule} {schedule.execution_timezone}",
                "at first": schedule.default_status.value.lower(),
            },
        )


def _sensors(definitions: dg.Definitions) -> Iterator[tuple[str, Facts]]:
    for sensor in sorted(definitions.sensors or (), key=lambda sensor: sensor.name):
        automates = isinstance(sensor, dg.AutomationConditionSensorDefinition)
        yield (
            sensor.name,
            {
                "says": _first_paragraph(sensor.description),
                "kind": sensor.sensor_type.value.lower(),
                "looks every": f"{sensor.minimum_interval_seconds or 30} s",
                "at first": sensor.default_status.value.lower(),
                "job": _listed(target.job_name for target in sensor.targets) if not automates else "",
                "assets": _listed(sorted(key.to_user_string() for key in _selected(sensor, definitions))),
            },
        )


def _everywhere(definitions: dg.Definitions) -> Facts:
    executor = definitions.executor
    assert isinstance(executor, dg.ExecutorDefinition)
    return {
        "executor": executor.name,
        "loggers": _listed(sorted(definitions.loggers or ())),
        "resources": _listed(sorted(definitions.resources or ())),
    }


def _selected(sensor: dg.SensorDefinition, definitions: dg.Definitions) -> set[dg.AssetKey]:
    selection = sensor.asset_selection
    return selection.resolve(definitions.resolve_asset_graph()) if selection is not None else set()


def _own_tags(spec: dg.AssetSpec) -> dict[str, str]:
    """Tags but those by which Dagster remembers the kinds."""
    return {name: value for name, value in spec.tags.items() if not name.startswith("dagster/kind/")}


def _settings(op: dg.OpDefinition) -> str:
    fields = getattr(op.config_schema.config_type, "fields", None) if op.config_schema else None
    return _listed(sorted(fields or ()))


def _backfills(policy: dg.BackfillPolicy | None) -> str:
    if policy is None:
        return ""
    return f"{policy.max_partitions_per_run} partitions per run" if policy.max_partitions_per_run else "one run"


def _freshness(policy: dg.FreshnessPolicy | None) -> str:
    if policy is None:
        return ""
    assert isinstance(policy, TimeWindowFreshnessPolicy)
    hours = {
        name: window.to_timedelta().total_seconds() / 3600
        for name, window in (("warns", policy.warn_window), ("fails", policy.fail_window))
        if window is not None
    }
    return _listed(f"{name} after {after:g} h" for name, after in hours.items())


def _partitions(partitions: dg.PartitionsDefinition | None) -> str:
    return _listed(partitions.get_partition_keys()) if partitions else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _first_paragraph(description: str | None) -> str:
    return " ".join((description or "").strip().partition("\n\n")[0].split())


if __name__ == "__main__":
    for name in RECIPES:
        (SNAPSHOTS / f"{name}.txt").write_text(in_text(definitions_of(name)), encoding="utf-8")
