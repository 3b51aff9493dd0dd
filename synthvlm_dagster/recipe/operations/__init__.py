"""How the project is operated: what happens on a clock, on arrival and after failures. Nothing here changes a table."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.operations.repair import Repair
from synthvlm_dagster.recipe.section import Section


class Operations(Section):
    """What runs by itself, and within which limits."""

    repair: Repair = Field(default_factory=Repair)
