"""Names by which runs, jobs and their records are known, here and to Dagster."""

from __future__ import annotations

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
ASSET_JOB = "__ASSET_JOB"
"""Dagster's own job, whose runs make assets."""
REPAIR_JOB = "repair_shards"
"""Job that makes shards which are not neighbours in one run; see `repair.job`."""
REPAIR_OP = "repair"
"""Its op."""
