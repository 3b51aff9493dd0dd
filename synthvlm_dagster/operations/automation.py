"""What Dagster itself watches over: how old the dataset is, and, if switched on, that it follows its scores."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Freshness


def follows_its_scores() -> dg.AutomationCondition:
    """Make an asset again, once, when every shard is there and what it is made of has changed.

    Differs from Dagster's `eager()` in two ways. A shard that was recorded again with the data it had changes nothing.
    And an asset that was never made waits for a change too: the first dataset is for somebody to ask for. As in
    `eager()`, nothing starts while a shard is missing – without that, a fan-in starts at the first shards and, with
    all its changes answered, never for the last – or while one is being made. The assets behind the first come in the
    same run.
    """
    condition = dg.AutomationCondition
    changed = condition.newly_updated() & condition.data_version_changed() & ~condition.executed_with_root_target()
    return (
        condition.any_deps_match(changed | condition.will_be_requested())
        .with_label("any_deps_changed")
        .since_last_handled()
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
    ).with_label("follows_its_scores")


def watched(assets: Iterable[dg.AssetsDefinition], dataset: Dataset) -> list[dg.AssetsDefinition]:
    """The assets of the last stage: they follow their scores, and the selection has the recipe's freshness policy."""
    policy = freshness_policy(dataset.recipe.operations.freshness)

    def watch(spec: dg.AssetSpec) -> dg.AssetSpec:
        spec = spec.replace_attributes(automation_condition=follows_its_scores())
        is_selection = spec.key == dataset.key("selected_pairs")
        return dg.apply_freshness_policy(spec, policy) if policy and is_selection else spec

    return [asset.map_asset_specs(watch) for asset in assets]


def freshness_policy(freshness: Freshness | None) -> dg.FreshnessPolicy | None:
    """The policy that a recipe asks for."""
    if freshness is None:
        return None
    warning = freshness.warn_after_hours
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=freshness.fail_after_hours),
        warn_window=timedelta(hours=warning) if warning is not None else None,
    )


def dataset_follows_scores(
    dataset: Dataset, assets: Iterable[dg.AssetsDefinition]
) -> dg.AutomationConditionSensorDefinition:
    """The sensor that has Dagster make the assets of the last stage when their scores have changed."""
    return dg.AutomationConditionSensorDefinition(
        dataset.name("dataset_follows_scores"),
        target=dg.AssetSelection.assets(*(key for asset in assets for key in asset.keys)),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Selects, exports and reports again when every shard has its scores and some have changed. For "
        "those who materialize shards by hand or by backfill; the schedules and `synthvlm run` bring the dataset with "
        "them.",
    )
