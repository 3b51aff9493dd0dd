"""Whether Dagster takes an asset for in sync with its code and its inputs, as its UI would show it."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContext


class OneLook(LoadingContext):
    """What Dagster loads in batches, for a single question."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[type, Any] = {}

    @property
    def instance(self) -> dg.DagsterInstance:
        """Where it is loaded from."""
        return self._instance

    @property
    def loaders(self) -> dict[type, Any]:
        """By the kind of what they load."""
        return self._loaders


def is_in_sync(instance: dg.DagsterInstance, graph: BaseAssetGraph, key: dg.AssetKey) -> bool:
    """Whether the UI shows an asset without partitions as materialized, and without the mark Unsynced.

    Args:
        instance: holds the records.
        graph: of the code location.
        key: of the asset.
    """
    return CachingStaleStatusResolver(instance, graph, OneLook(instance)).get_status(key) == StaleStatus.FRESH
