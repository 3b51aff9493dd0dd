"""When new caption files are taken in."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.section import Section


class NewCaptions(Section):
    """What the sensor `new_captions` waits for; it does nothing until it is started in the Dagster UI."""

    settle_seconds: float = Field(
        60,
        ge=0,
        description="The caption files are taken as whole, and read, when none of them has changed in size, time of "
        "change or etag for so many seconds, and in two looks one after the other.",
    )
    look_every_seconds: int = Field(30, ge=1, description="Seconds from one look at the caption files to the next.")
    answer_seconds: float = Field(
        30, gt=0, le=50, description="How long a store may take to list the files, before the look is given up."
    )
