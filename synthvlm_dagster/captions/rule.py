"""What a rule is, and the kinds of rules that there are; the rules themselves stand in `rules`, one in each file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import polars as pl

from synthvlm_dagster.captions.all_captions import AllCaptions
from synthvlm_dagster.captions.measures.measurements import Measure, MeasurementStore
from synthvlm_dagster.captions.text_statistics import SCHEMA, STATISTICS
from synthvlm_dagster.models.availability import Availability
from synthvlm_dagster.recipe import Bounds, Curation
from synthvlm_dagster.recipe.rule import MayBeUnmeasured
from synthvlm_dagster.recipe.rules import RULE_SETTINGS
from synthvlm_dagster.recipe.section import Section

Settings = TypeVar("Settings", bound=Section)

_KEPT, _BROKEN, _UNMEASURED = np.uint8(0), np.uint8(1), np.uint8(2)


class Column(NamedTuple):
    """A column that a rule adds to the captions' tables."""

    dtype: pl.DataType
    description: str
    """What its values are, with their unit and range."""


class Judgement(NamedTuple):
    """What a rule says of all captions."""

    broken: np.ndarray
    """bool, shape (captions,): the caption breaks the rule; False where nothing was measured."""

    unmeasured: np.ndarray | None = None
    """bool, shape (captions,): there is no statistic to judge it by. None: the rule has no need of one."""


@dataclass(frozen=True)
class Rule(ABC, Generic[Settings]):
    """Judges captions: of each part while the captions are read, it notes a little; then it is asked about all of them.

    Attributes:
        name: its name in the recipe, of its file here and of its file in `recipe.rules`, which holds its settings.
        label: what it measures, in a few words for a table.
        paper: what the paper keeps by it, where it is off by default.
        judges_without_settings: it is asked even where the recipe switches it off.
    """

    name: str
    label: str
    paper: str = ""
    judges_without_settings: bool = False

    @property
    def place(self) -> int:
        """See `RuleSetting`."""
        if self.name not in RULE_SETTINGS:
            raise ImportError(f"the rule {self.name} has a file in captions/rules, but none in recipe/rules")
        return RULE_SETTINGS[self.name].place

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that it adds, where it is on."""
        return {}

    @property
    def statistic(self) -> str | None:
        """The column of the number that it judges by; None where it judges by no number of the caption itself."""
        return None

    def read(self, texts: pl.Series) -> pl.DataFrame | None:
        """The columns that it measures on texts alone, as they are read, without a template; None: there are none.

        Args:
            texts: String, without nulls; a row that cannot be read has an empty text.
        """
        return None

    def note(self, part: pl.DataFrame, settings: Settings | None) -> np.ndarray | None:
        """What is to be remembered of the next captions: a number of few bytes for each; None: nothing.

        Args:
            part: captions with raw's columns, the text statistics and what all rules measured on the texts.
            settings: None where the rule is off, but judges all the same.
        """
        return None

    @abstractmethod
    def judge(self, noted: np.ndarray | None, captions: AllCaptions, settings: Settings | None) -> Judgement:
        """Judge all captions; only verdicts on those still kept count.

        Args:
            noted: what `note` gave, of all captions in order.
            captions: all of them, and what the rules before this one said and measured.
            settings: as for `note`.

        Raises:
            SynthVLMError: nothing can be measured at all.
        """

    def kept_text(self, settings: Settings) -> str:
        """What it keeps, in a few signs, for example `0.1–0.4`.

        Args:
            settings: of the recipe.
        """
        raise NotImplementedError

    def preflight(self, curation: Curation) -> Availability | None:
        """What can be told, without network and without loading weights, of what it needs; None: it needs nothing.

        Raises:
            SynthVLMError: it cannot work.
        """
        return None


@dataclass(frozen=True)
class BoundedStatistic(Rule[Bounds]):
    """Keeps captions whose number, in the column of the rule's own name, is inside of the recipe's bounds."""

    @property
    def statistic(self) -> str:
        """The rule's own name."""
        return self.name

    def note(self, part: pl.DataFrame, settings: Bounds | None) -> np.ndarray | None:
        """Whether the number is outside, or missing, in one byte."""
        assert settings is not None
        noted = np.where(outside(part[self.name].to_numpy(), settings), _BROKEN, _KEPT)
        if isinstance(settings, MayBeUnmeasured):
            noted[part[self.name].is_null().to_numpy()] = _UNMEASURED
        return noted

    def judge(self, noted: np.ndarray | None, captions: AllCaptions, settings: Bounds | None) -> Judgement:
        """See `Rule`."""
        assert noted is not None
        may_be_unmeasured = isinstance(settings, MayBeUnmeasured)
        return Judgement(np.equal(noted, _BROKEN), np.equal(noted, _UNMEASURED) if may_be_unmeasured else None)

    def kept_text(self, settings: Bounds) -> str:
        """For example `0.1–0.4`, `≥ 0.6`, `any`."""
        return bounds_text(settings)


@dataclass(frozen=True)
class DataJuicerStatistic(BoundedStatistic):
    """One of the statistics that are all measured in one pass over the captions, see `text_statistics`.

    Attributes:
        in_template: it describes the caption inside the recipe's `text_template`.
    """

    in_template: bool = False

    @property
    def columns(self) -> dict[str, Column]:
        """The statistic; the tables have it also where the rule is off."""
        return {self.name: Column(SCHEMA[self.name], STATISTICS[self.name])}


@dataclass(frozen=True)
class CarriedStatistic(BoundedStatistic):
    """A number that the rows of the sources carry, and that is null where they do not."""


@dataclass(frozen=True, kw_only=True)
class TextStatistic(BoundedStatistic):
    """A number measured on each caption itself, where the rule is on.

    Attributes:
        column: what the number is.
        measure: takes captions (String, without nulls, some of them empty) and gives a number for each.
    """

    column: Column
    measure: Callable[[pl.Series], pl.Series]

    @property
    def columns(self) -> dict[str, Column]:
        """The number, under the rule's name."""
        return {self.name: self.column}

    def read(self, texts: pl.Series) -> pl.DataFrame:
        """See `Rule`."""
        return self.measure(texts).cast(self.column.dtype).alias(self.name).to_frame()


@dataclass(frozen=True, kw_only=True)
class CostlyRule(Rule[Settings]):
    """Judges by a number that takes a model or an endpoint: measured only on what the rules before it keep, and stored.

    Attributes:
        description: what the number is, with its unit and range.
        carried_as: column of raw that may hold the number already.
    """

    description: str
    carried_as: str | None = None

    @property
    def columns(self) -> dict[str, Column]:
        """The number, under the rule's name."""
        return {self.name: Column(pl.Float64(), self.description)}

    @property
    def statistic(self) -> str:
        """The rule's own name."""
        return self.name

    @abstractmethod
    def measure(self, curation: Curation) -> Measure | None:
        """What gives the number; None where the rule is off, or only uses what the sources carry.

        Raises:
            SynthVLMError: a model's files are not there, or an extra of the package is not installed.
        """

    @abstractmethod
    def bounds(self, settings: Settings) -> Bounds:
        """In which the number must lie."""

    def costs(self, store: MeasurementStore, settings: Settings) -> dict[str, float]:
        """What the numbers cost, by what is to be told of them; empty where they cost nothing but time.

        Args:
            store: the numbers, after a curation.
            settings: of the recipe.
        """
        return {}

    def note(self, part: pl.DataFrame, settings: Settings | None) -> np.ndarray | None:
        """The number that the source carries, NaN where it does not."""
        return part[self.carried_as].to_numpy().astype(np.float64) if self.carried_as else None

    def judge(self, noted: np.ndarray | None, captions: AllCaptions, settings: Settings | None) -> Judgement:
        """See `Rule`."""
        assert settings is not None
        values = np.full(captions.count, np.nan) if noted is None else noted
        values = captions.measured(self.name, values)
        return Judgement(outside(values, self.bounds(settings)), np.isnan(values))

    def kept_text(self, settings: Settings) -> str:
        """See `bounds_text`."""
        return bounds_text(self.bounds(settings))


def outside(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Which values are outside of the closed interval: bool, of the values' shape; False for NaN."""
    below = np.zeros(values.shape, dtype=bool) if bounds.min is None else values < bounds.min
    return below if bounds.max is None else below | (values > bounds.max)


def bounds_text(bounds: Bounds) -> str:
    """An interval in a few signs: `0.1–0.4`, `≥ 0.6`, `≤ 5500`, `any`."""
    least, most = (None if side is None else f"{side:.10g}" for side in (bounds.min, bounds.max))
    if least and most:
        return f"{least}–{most}"
    if least:
        return f"≥ {least}"
    return f"≤ {most}" if most else "any"
