"""What every part of a recipe has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, field_validator

from synthvlm_dagster.credentials import credentials_in


class Section(BaseModel):
    """A strict, immutable part of the recipe: unknown keys are refused, and URLs with credentials in them."""

    # What is refused for its credentials must not be shown.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and (refusal := credentials_in(text)):
                raise ValueError(refusal)
        return value


@dataclass(frozen=True)
class LocationMark:
    """Marks a field that holds a place; see `locations.resolve_location`, whose argument `always` is this one."""

    always: bool


Location = Annotated[str, LocationMark(always=True)]
"""A path or URL; a relative one starts at the recipe's folder."""

ModelName = Annotated[str, LocationMark(always=False)]
"""A hub id or architecture name, or a folder where one exists below the recipe's folder."""
