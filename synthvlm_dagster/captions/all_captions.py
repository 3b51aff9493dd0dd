"""All captions of a curation, as a rule sees them once the last has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from synthvlm_dagster.captions.measures.measurements import MeasurementStore
from synthvlm_dagster.captions.verdicts import Verdicts
from synthvlm_dagster.store.temporary_table import TemporaryTable


class AllCaptions:
    """Millions of captions, of which no more than a part stands in memory.

    Attributes:
        count: how many there are, unreadable rows included.
        statistics: what costly rules measured, by name of the rule: float64, shape (captions,), NaN where they did not.
        on_progress: called every few seconds.
    """

    def __init__(
        self,
        rows: TemporaryTable,
        verdicts: Verdicts,
        stores: Mapping[str, MeasurementStore],
        on_progress: Callable[[str], None],
    ) -> None:
        """
        Args:
            rows: the captions.
            verdicts: what the rules said so far.
            stores: values of the costly rules, by name of the rule; of one that is not among them nothing is measured.
            on_progress: called every few seconds.
        """
        self.count = len(verdicts.kept)
        self.statistics: dict[str, np.ndarray] = {}
        self.on_progress = on_progress
        self._rows = rows
        self._verdicts = verdicts
        self._stores = stores

    @property
    def kept(self) -> np.ndarray:
        """bool, shape (captions,): no rule has rejected the caption so far."""
        return self._verdicts.kept

    def rows(self, wanted: np.ndarray, columns: Sequence[str]) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """The places of the wanted captions and their columns, a part at a time; read to the end before the next call.

        Args:
            wanted: bool, shape (captions,).
            columns: of raw, and what was measured on the texts.
        """
        start = 0
        for part in self._rows.batches(columns):
            here = wanted[start : start + part.height]
            if here.any():
                yield start + np.flatnonzero(here), part.filter(pl.Series(here))
            start += part.height

    def measured(self, rule: str, values: np.ndarray) -> np.ndarray:
        """Values of a costly rule, measured or looked up for the kept captions that have none; also in `statistics`.

        Args:
            rule: its name.
            values: float64, shape (captions,), NaN where there is none; written into.

        Raises:
            SynthVLMError: nothing can be measured at all.
        """
        if store := self._stores.get(rule):
            asked = self.kept & np.isnan(values)
            self.on_progress(f"{rule}: {asked.sum():,} captions to measure, or to look up")
            for places, part in self.rows(asked, ["text", "image_uri"]):
                values[places] = store.values(part, self.on_progress).to_numpy()
        self.statistics[rule] = values
        return values
