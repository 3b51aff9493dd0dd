"""Which rule rejects which caption, for millions of captions: a few bytes each."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl

from synthvlm_dagster.recipe.rule import MayBeUnmeasured


class Notes:
    """What rules note of the captions, part by part."""

    def __init__(self) -> None:
        self._parts: defaultdict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, rule: str, part: np.ndarray) -> None:
        """Append what a rule notes of the next captions: shape (captions of the part,)."""
        self._parts[rule].append(part)

    def take(self, rule: str) -> np.ndarray | None:
        """What a rule noted of all captions, in order, which is forgotten here; None where it noted nothing."""
        parts = self._parts.pop(rule, None)
        return np.concatenate(parts) if parts else None


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
