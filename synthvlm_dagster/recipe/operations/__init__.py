"""How the project is operated: what happens on a clock, on arrival and after failures. Nothing here changes a table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from synthvlm_dagster.recipe.operations.arrival import NewCaptions
from synthvlm_dagster.recipe.operations.clock import Clock
from synthvlm_dagster.recipe.operations.freshness import Freshness
from synthvlm_dagster.recipe.operations.regeneration import Regeneration
from synthvlm_dagster.recipe.operations.repair import Repair
from synthvlm_dagster.recipe.section import Section

_OWNER = r"^(team:.+|[^@\s]+@[^@\s]+\.[^@\s]+)$"


class Operations(Section):
    """What runs by itself, and within which limits."""

    owners: tuple[Annotated[str, Field(pattern=_OWNER)], ...] = Field(
        (),
        description="Who owns the assets, as the Dagster UI shows and filters them: e-mail addresses, or names of "
        "teams such as team:data.",
    )

    refresh: Clock = Field(
        default_factory=Clock, description="When `refresh_stale_shards` starts, if its schedule is switched on."
    )
    regeneration: Regeneration = Field(default_factory=Regeneration)
    freshness: Freshness | None = Field(None, description="Null: the dataset may become as old as it likes.")
    repair: Repair = Field(default_factory=Repair)
    new_captions: NewCaptions = Field(
        default_factory=NewCaptions, description="When new and changed caption files of the sources are taken in."
    )
