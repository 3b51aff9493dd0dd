"""In which languages captions are kept."""

from __future__ import annotations

import numpy as np
import polars as pl

from synthvlm_dagster.captions.all_captions import AllCaptions
from synthvlm_dagster.captions.languages import identify_languages
from synthvlm_dagster.captions.rule import Column, Judgement, Rule
from synthvlm_dagster.recipe import Language


class LanguageRule(Rule[Language]):
    """Keeps captions of which fastText says that they are in one of some languages."""

    @property
    def columns(self) -> dict[str, Column]:
        """The language, and how sure fastText is of it."""
        return {
            "language": Column(pl.String(), "Most likely language, ISO 639-1."),
            "language_score": Column(pl.Float64(), "Probability of that language, in [0, 1]."),
        }

    @property
    def statistic(self) -> str:
        """How sure fastText is."""
        return "language_score"

    def read(self, texts: pl.Series) -> pl.DataFrame:
        """See `Rule`."""
        return identify_languages(texts)

    def note(self, part: pl.DataFrame, settings: Language | None) -> np.ndarray:
        """Whether the caption is in another language, or in one of those too improbably."""
        assert settings is not None
        other = ~part["language"].is_in(settings.keep) | (part["language_score"] < settings.min_score)
        return other.fill_null(value=False).to_numpy()

    def judge(self, noted: np.ndarray | None, captions: AllCaptions, settings: Language | None) -> Judgement:
        """See `Rule`."""
        assert noted is not None
        return Judgement(noted)

    def kept_text(self, settings: Language) -> str:
        """For example `en, de, ≥ 0.5`."""
        least = f", ≥ {settings.min_score:.10g}" if settings.min_score else ""
        return ", ".join(settings.keep) + least


RULE = LanguageRule("language", label="fastText's language identification, extra `language`")
