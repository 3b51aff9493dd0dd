"""What every part of a recipe has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

NAME = r"^[a-z0-9][a-z0-9._-]*$"
"""What is part of a path in the store."""


class Section(BaseModel):
    """A strict, immutable part of the recipe: unknown keys, infinite numbers and booleans as numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name:
            annotation = cls.model_fields[info.field_name].annotation
            kinds = {annotation, *get_args(annotation)}
            if kinds & {int, float} and bool not in kinds:
                raise ValueError(f"must be a number, not {str(value).lower()}")
        return value


@dataclass(frozen=True)
class LocationMark:
    """Marks a field that holds a place; see `locations.resolve_location`, whose argument `always` is this one."""

    always: bool


Location = Annotated[str, LocationMark(always=True)]
"""A path or URL; a relative one starts at the recipe's folder."""

ModelName = Annotated[str, LocationMark(always=False)]
"""A hub id or architecture name, or a folder where one exists below the recipe's folder."""
