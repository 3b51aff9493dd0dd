"""What every part of a recipe has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A strict, immutable part of the recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class LocationMark:
    """Marks a field that holds a place; see `locations.resolve_location`, whose argument `always` is this one."""

    always: bool


Location = Annotated[str, LocationMark(always=True)]
"""A path or URL; a relative one starts at the recipe's folder."""

ModelName = Annotated[str, LocationMark(always=False)]
"""A hub id or architecture name, or a folder where one exists below the recipe's folder."""
