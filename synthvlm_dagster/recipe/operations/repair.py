"""How shards that failed are repaired."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.section import Section


class Repair(Section):
    """How often, and after which pauses, the sensor `repair_failed_shards` has a failed shard repaired.

    The sensor is stopped until it is started in the Dagster UI.
    """

    max_attempts: int = Field(
        3, ge=0, description="Repairs of a shard that keeps failing; then a person is told, and it is left alone."
    )
    first_pause_minutes: float = Field(
        5.0, ge=0, allow_inf_nan=False, description="Minutes from a shard's failure to its first repair."
    )
    pause_factor: float = Field(
        2.0, ge=1, allow_inf_nan=False, description="So many times longer is each pause than the one before."
    )
