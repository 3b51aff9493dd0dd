"""In which languages captions are kept."""

from __future__ import annotations

from pydantic import Field, field_validator

from synthvlm_dagster.recipe.languages import LANGUAGES
from synthvlm_dagster.recipe.rule import RuleSetting
from synthvlm_dagster.recipe.section import Section


class Language(Section):
    """The languages kept, as fastText's language identification (lid.176) names them."""

    keep: tuple[str, ...] = Field(
        ("en",), min_length=1, description="Codes of the languages kept: ISO 639-1, or 639-3 where there is none."
    )
    min_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Smallest probability of the language, in [0, 1]. Good English captions of a few words often score "
        "below 0.5; a text of which the model knows nothing is `en` at 0.12.",
    )

    @field_validator("keep")
    @classmethod
    def _can_be_recognized(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in codes if code not in LANGUAGES]
        if unknown:
            raise ValueError(f"there is no language {', '.join(unknown)}; codes are {', '.join(LANGUAGES)}")
        return codes


RULE = RuleSetting(name="language", section=Language, description="Languages kept; in the extra `language`.", place=100)
