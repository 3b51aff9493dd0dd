"""Which tables are missing or no longer what the recipe and their inputs would give now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from synthvlm_dagster.captions.readers import source_version
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.one_run import changes, recipe_of_table
from synthvlm_dagster.orchestration.shards import CODE_VERSION_TAG, DATA_VERSION_TAG, INPUT_VERSION_TAG
from synthvlm_dagster.store.storage import WHOLE_TABLE, Storage


def why_outdated(
    spec: dg.AssetSpec,
    parents: Iterable[dg.AssetSpec],
    instance: dg.DagsterInstance,
    dataset: Dataset,
) -> str | None:
    """Why an unpartitioned asset should be materialized again, in a few words; None when it is up to date.

    Compares what Dagster recorded at its last materialization with what stands now: its code version (which holds the
    recipe's section), the versions of its inputs, and its table in the store. A table that was made with settings for
    one run alone (see `launchpad`) is always outdated: the recipe is what holds.
    """
    recipe, storage = dataset.recipe, dataset.storage
    record = _latest(spec.key, instance)
    if record is None or record.asset_materialization is None:
        return "not made yet"
    made = record.asset_materialization
    tags = made.tags or {}
    if tags.get(CODE_VERSION_TAG) != spec.code_version:
        return "recipe or code has changed"
    table = _table_of(made, storage)
    if table is None:
        return "its table is gone, or was made in another store"
    if storage.exists(f"{table}/{WHOLE_TABLE}") and storage.version(table) != tags.get(DATA_VERSION_TAG):
        # A run that was killed between writing the table and recording it, or a hand that wrote it.
        return "its table is not the one that was recorded"
    if set_for_one_run := changes(recipe, recipe_of_table(recipe, storage, table)):
        return f"made with {', '.join(map(str, set_for_one_run))}, set for one run; now as the recipe says"
    if spec.key == dataset.key("raw_captions") and _text(made, "source_version") != source_version(recipe.sources):
        return "caption files have changed"
    reasons = (_why_parent_outdates(parent, instance, tags, record.storage_id) for parent in parents)
    return next((reason for reason in reasons if reason), None)


def _why_parent_outdates(
    parent: dg.AssetSpec, instance: dg.DagsterInstance, tags: Mapping[str, str], made_at: int
) -> str | None:
    name = parent.key.to_user_string()
    record = _latest(parent.key, instance)
    if record is None or record.asset_materialization is None:
        return f"{name} is not made yet"
    if parent.partitions_def is not None:
        changed = record.storage_id > made_at
    else:
        version = (record.asset_materialization.tags or {}).get(DATA_VERSION_TAG)
        changed = version != tags.get(INPUT_VERSION_TAG + name)
    return f"{name} has changed" if changed else None


def _latest(key: dg.AssetKey, instance: dg.DagsterInstance) -> dg.EventLogRecord | None:
    return next(iter(instance.fetch_materializations(key, limit=1).records), None)


def _table_of(made: dg.AssetMaterialization, storage: Storage) -> str | None:
    """Path of the asset's table or folder in this store; None when nothing is there."""
    location, root = _text(made, "dagster/uri"), storage.url() + "/"
    table = location.removeprefix(root)
    return table if location.startswith(root) and storage.files(table) else None


def _text(made: dg.AssetMaterialization, name: str) -> str:
    value = made.metadata.get(name)
    return str(value.value) if value is not None else ""
