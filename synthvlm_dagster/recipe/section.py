"""What every part of a recipe has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from synthvlm_dagster.store.credentials import credentials_in

NAME = r"^[a-z0-9][a-z0-9._-]*$"
"""What is part of a path in the store."""

Dtype = Literal["float32", "float16", "bfloat16"]
"""Precision of a model's weights and maths."""


class Section(BaseModel):
    """A strict, immutable part of the recipe.

    Refused are unknown keys, infinite numbers, booleans as numbers, and URLs with credentials in them.
    """

    # What is refused for its credentials must not be shown.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name:
            annotation = cls.model_fields[info.field_name].annotation
            kinds = {annotation, *get_args(annotation)}
            if kinds & {int, float} and bool not in kinds:
                raise ValueError(f"must be a number, not {str(value).lower()}")
        return value

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
