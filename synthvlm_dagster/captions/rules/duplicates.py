"""When captions are the same, of which the first is kept."""

from __future__ import annotations

import numpy as np
import polars as pl

from synthvlm_dagster.captions.all_captions import AllCaptions
from synthvlm_dagster.captions.duplicates import duplicate_keys
from synthvlm_dagster.captions.near_duplicates import near_duplicates
from synthvlm_dagster.captions.rule import Judgement, Rule
from synthvlm_dagster.recipe import Duplicates


class DuplicatesRule(Rule[Duplicates]):
    """Keeps the first of captions that are the same.

    The same caption found twice in one source is one caption, whatever the recipe says.
    """

    def note(self, part: pl.DataFrame, settings: Duplicates | None) -> np.ndarray:
        """A number that captions which are the same have in common."""
        if settings:
            return duplicate_keys(part["text"].fill_null("")).to_numpy()
        return part["caption_id"].str.to_integer(base=16, dtype=pl.UInt64).to_numpy()

    def judge(self, noted: np.ndarray | None, captions: AllCaptions, settings: Duplicates | None) -> Judgement:
        """See `Rule`."""
        assert noted is not None
        kept = captions.kept
        places = np.flatnonzero(kept)
        first = pl.Series(noted[places]).is_first_distinct().to_numpy()
        copies = np.zeros(captions.count, dtype=bool)
        copies[places[~first]] = True
        if settings and settings.method == "near":
            unique = kept & ~copies
            texts = (part["text"] for _, part in captions.rows(unique, ["text"]))
            copies[unique] = near_duplicates(texts, settings.similarity, captions.on_progress)
        return Judgement(copies)

    def kept_text(self, settings: Duplicates) -> str:
        """Always the first of each."""
        return "the first of each"


RULE = DuplicatesRule(
    "duplicates",
    label="`exact` after folding case, punctuation and spaces, or `near`",
    judges_without_settings=True,
)
