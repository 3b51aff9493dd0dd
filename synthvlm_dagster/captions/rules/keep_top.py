"""How many of the captions that fit their original image are kept."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from synthvlm_dagster.captions.all_captions import AllCaptions
from synthvlm_dagster.captions.rule import Judgement, Rule
from synthvlm_dagster.recipe import KeepTop


class KeepTopRule(Rule[KeepTop]):
    """Keeps the best share of the captions by the statistic of `image_text_similarity`."""

    def judge(self, noted: np.ndarray | None, captions: AllCaptions, settings: KeepTop | None) -> Judgement:
        """See `Rule`."""
        assert settings is not None
        similarity = captions.statistics["image_text_similarity"]
        return Judgement(below_the_best(settings, similarity, captions.kept), np.isnan(similarity))

    def kept_text(self, settings: KeepTop) -> str:
        """For example `the best 40 %`."""
        return f"the best {100 * settings.share:.10g} %"


def below_the_best(rule: KeepTop, similarity: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Which kept captions are not among the best share by similarity; of equal ones the first are the better.

    Args:
        rule: the share, of the kept captions that have a similarity; at least one stays.
        similarity: float64, shape (captions,); NaN where there is none.
        kept: bool, shape (captions,).

    Returns:
        bool, shape (captions,); False for captions without similarity.
    """
    ranked = np.flatnonzero(kept & ~np.isnan(similarity))
    # As the recipe writes it: in floating point, 0.55 of 100 captions are 56.
    best = math.ceil(Fraction(str(rule.share)) * len(ranked))
    below = np.zeros(len(similarity), dtype=bool)
    below[ranked[np.argsort(-similarity[ranked], kind="stable")[best:]]] = True
    return below


RULE = KeepTopRule("keep_top", label="the best by `image_text_similarity`", paper="40 %")
