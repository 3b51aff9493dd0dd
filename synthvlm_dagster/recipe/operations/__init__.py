"""How the project is operated: what happens on a clock, on arrival and after failures. Nothing here changes a table."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.operations.arrival import NewCaptions
from synthvlm_dagster.recipe.section import Section


class Operations(Section):
    """What runs by itself, and within which limits."""

    new_captions: NewCaptions = Field(
        default_factory=NewCaptions, description="When new and changed caption files of the sources are taken in."
    )
