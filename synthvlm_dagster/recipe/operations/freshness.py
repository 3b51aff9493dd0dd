"""How old the dataset may become."""

from __future__ import annotations

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.section import Section


class Freshness(Section):
    """Age at which Dagster marks the dataset, in hours since `selected_pairs` was made last."""

    fail_after_hours: float = Field(ge=1 / 60, description="Older than this, the dataset is overdue.")
    warn_after_hours: float | None = Field(
        None, ge=1 / 60, description="Older than this, a warning; less than fail_after_hours. Null: no warning."
    )

    @model_validator(mode="after")
    def _warns_before_it_fails(self) -> Freshness:
        if self.warn_after_hours is not None and self.warn_after_hours >= self.fail_after_hours:
            raise ValueError(
                f"warn_after_hours is {self.warn_after_hours:g}, but must be less than fail_after_hours, "
                f"{self.fail_after_hours:g}"
            )
        return self
