"""Which rule rejects which caption, for millions of captions: a few bytes each."""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction

import numpy as np
import polars as pl

from synthvlm_dagster.recipe.curation import Bounds, KeepTop, MayBeUnmeasured


class Facts:
    """Columns gathered part by part, each of which is taken once."""

    def __init__(self) -> None:
        self._parts: defaultdict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, name: str, part: np.ndarray) -> None:
        """Append a part to a column."""
        self._parts[name].append(part)

    def take(self, name: str) -> np.ndarray:
        """The whole column, which is forgotten here."""
        return np.concatenate(self._parts.pop(name))


class Verdicts:
    """The first rule that rejects each caption, as rules are asked one after another.

    Attributes:
        rules: names of the rules asked, in order.
    """

    def __init__(self, captions: int) -> None:
        self.rules: list[str] = []
        # 0 while the caption is kept, else 1 + the rule's place.
        self._code = np.zeros(captions, dtype=np.uint8)
        # One bit for each rule.
        self._unmeasured = np.zeros(captions, dtype=np.uint32)

    @property
    def kept(self) -> np.ndarray:
        """bool, shape (captions,): no rule has rejected the caption so far."""
        return self._code == 0

    def reject(self, rule: str, broken: np.ndarray) -> None:
        """Ask a rule: of the captions still kept, reject those that break it.

        Args:
            rule: its name.
            broken: bool, shape (captions,).
        """
        self.rules.append(rule)
        self._code[broken & self.kept] = len(self.rules)

    def reject_measured(self, rule: str, settings: MayBeUnmeasured, broken: np.ndarray, unmeasured: np.ndarray) -> None:
        """Ask a rule whose statistic some captions do not have; of the kept ones, those without are remembered.

        Args:
            rule: its name.
            settings: whether captions without the statistic are kept.
            broken: bool, shape (captions,); False where nothing was measured.
            unmeasured: bool, shape (captions,).
        """
        self._unmeasured[unmeasured & self.kept] |= np.uint32(1 << len(self.rules))
        self.reject(rule, broken | unmeasured if settings.if_not_measured == "reject" else broken)

    def columns(self, start: int, stop: int) -> pl.DataFrame:
        """`not_measured` (List(String), names of rules) and `rejected_by` (String, null when kept) of a range."""
        names = pl.Series([None, *self.rules], dtype=pl.String)
        masks, place = np.unique(self._unmeasured[start:stop], return_inverse=True)
        lists = pl.Series([self._names(int(mask)) for mask in masks], dtype=pl.List(pl.String))
        return pl.DataFrame(
            {
                "not_measured": lists.gather(place),
                "rejected_by": names.gather(self._code[start:stop]),
            }
        )

    def _names(self, mask: int) -> list[str]:
        return [rule for place, rule in enumerate(self.rules) if mask >> place & 1]


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


def outside(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Which values are outside of the closed interval: bool, of the values' shape; False for NaN."""
    below = np.zeros(values.shape, dtype=bool) if bounds.min is None else values < bounds.min
    return below if bounds.max is None else below | (values > bounds.max)
