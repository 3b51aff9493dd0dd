"""Judge every caption by the recipe's rules and split the table into kept and rejected (SynthVLM §3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from synthvlm_dagster.captions.all_captions import AllCaptions
from synthvlm_dagster.captions.flagged_words import read_flagged_words
from synthvlm_dagster.captions.measures.measurements import MeasurementStore
from synthvlm_dagster.captions.rule import outside
from synthvlm_dagster.captions.rules import RULES, TEMPLATE_RULES
from synthvlm_dagster.captions.text_statistics import SCHEMA as STATISTICS_SCHEMA
from synthvlm_dagster.captions.text_statistics import STATISTICS, measure_captions
from synthvlm_dagster.captions.verdicts import Notes, Verdicts
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Curation
from synthvlm_dagster.recipe.rule import CAPTION_PLACE
from synthvlm_dagster.store.temporary_table import TemporaryTable

UNREADABLE_ROW = "unreadable_row"
"""What rejects rows without a usable caption; not a rule of the recipe."""

BARE_TEXT = CAPTION_PLACE
WRAPPED_TEXT = str(Curation.model_fields["text_template"].default)

CURATION_COLUMNS = {
    **STATISTICS,
    **{name: column.description for rule in RULES.values() for name, column in rule.columns.items()},
    "not_measured": "Rules that had no statistic to judge the caption by.",
    "shard": "Partition of the caption's images and scores.",
    "rejected_by": "The first rule, in the order of curation, that rejects the caption.",
}


def curate_captions(
    raw: pl.DataFrame,
    curation: Curation,
    shard_keys: Sequence[str],
    measured: Mapping[str, MeasurementStore] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split raw captions into those worth an image and the others: `Curator` for a table that fits into memory.

    Args:
        raw: the columns of `readers.RAW_COLUMNS`.
        curation: rules and their bounds.
        shard_keys: names of the shards, in order.
        measured: see `Curator`.

    Returns:
        Curated and rejected captions, see `Curator.split`.

    Raises:
        RecipeError: the list of flagged words cannot be read.
    """
    curator = Curator(curation, shard_keys, measured)
    no_rows = pl.DataFrame(schema={**raw.schema, **curator.schema, "rejected_by": pl.String})
    parts = [(no_rows.drop("rejected_by"), no_rows), *curator.split([raw])]
    return pl.concat(kept for kept, _ in parts), pl.concat(rejected for _, rejected in parts)


class Curator:
    """Splits captions by the rules of a recipe, a part at a time: millions of them never stand in memory.

    Every row is in exactly one of the two tables, in the order it came in. Of duplicates, the first row is kept.

    Attributes:
        rows: captions judged so far, unreadable rows included.
        kept_by_template: of those, how many the rules that measure the caption inside a template would keep by
            themselves, by that template: the recipe's, and the bare caption (or the paper's, where the recipe's is it).
    """

    def __init__(
        self,
        curation: Curation,
        shard_keys: Sequence[str],
        measured: Mapping[str, MeasurementStore] | None = None,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        Args:
            curation: rules and their bounds.
            shard_keys: names of the shards, in order.
            measured: the values of each of `COSTLY_RULES` that is on, by name; without them nothing is measured.
            on_progress: called every few seconds.

        Raises:
            RecipeError: the list of flagged words cannot be read.
        """
        self.rows = 0
        other = WRAPPED_TEXT if curation.text_template == BARE_TEXT else BARE_TEXT
        self.kept_by_template = {curation.text_template: 0, other: 0}
        self._curation = curation
        self._shard_keys = pl.Series(shard_keys, dtype=pl.String)
        self._measured = measured or {}
        self._on_progress = on_progress
        self._flagged = read_flagged_words(curation.flagged_words) if curation.flagged_words else None
        self._on = {name: RULES[name] for name in curation.rules.on}
        self._asked = [name for name in curation.rule_order if name in self._on or RULES[name].judges_without_settings]

    @property
    def schema(self) -> pl.Schema:
        """Columns and types that this curation adds to raw's in the curated captions; the rejected have one more."""
        types: dict[str, Any] = dict(STATISTICS_SCHEMA)
        for rule in self._on.values():
            types |= {name: column.dtype for name, column in rule.columns.items()}
        return pl.Schema({**types, "not_measured": pl.List(pl.String), "shard": pl.String})

    def split(self, raw: Iterable[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Judge the captions of one pool; a curator does so once.

        Args:
            raw: parts with the columns of `readers.RAW_COLUMNS`; at least one.

        Yields:
            Curated and rejected captions of a part: raw's columns and those of `schema`, null where nothing was
            measured (unreadable rows; costly statistics of captions that an earlier rule rejects); the rejected also
            have `rejected_by`. `caption_id` is unique among the curated.

        Raises:
            SynthVLMError: a costly statistic cannot be measured at all.
        """
        # Duplicates, and all that runs a model, need the verdicts on every caption before them: what is measured on the
        # texts waits on disk meanwhile, and only a few bytes of each caption stay in memory.
        with closing(TemporaryTable()) as scratch:
            notes = self._read(raw, scratch)
            verdicts = Verdicts(self.rows)
            late = self._ask_rules(notes, verdicts, scratch)
            start = 0
            for part in scratch.batches():
                stop = start + part.height
                columns = {name: pl.Series(values[start:stop], nan_to_null=True) for name, values in late.items()}
                judged = part.with_columns(**columns).hstack(verdicts.columns(start, stop))
                yield self._divided(judged)
                start = stop

    def _read(self, raw: Iterable[pl.DataFrame], scratch: TemporaryTable) -> Notes:
        """Measure the texts, put all into the temporary table, and note what the rules ask to be noted."""
        notes = Notes()
        with Progress("captions measured", self._on_progress) as progress:
            parts = (self._with_text_statistics(part) for part in raw)
            first = next(parts)
            with scratch.writer(first.schema) as write:
                for part in chain([first], parts):
                    write(part)
                    self._note(part, notes)
                    self.rows += part.height
                    progress.report(self.rows)
        return notes

    def _with_text_statistics(self, part: pl.DataFrame) -> pl.DataFrame:
        readable = part["text"].is_not_null()
        texts = part["text"].fill_null("")
        template, other = self.kept_by_template
        measured = self._measure(texts, template)
        self.kept_by_template[template] += self._kept_by_template_rules(measured, readable)
        self.kept_by_template[other] += self._kept_by_template_rules(self._measure(texts, other), readable)
        read = [measured, *(found for rule in self._on.values() if (found := rule.read(texts)) is not None)]
        columns = [column for frame in read for column in frame.get_columns()]
        of_readable = [pl.when(readable).then(column).alias(column.name) for column in columns]
        number = part["caption_id"].str.to_integer(base=16, dtype=pl.UInt64) % len(self._shard_keys)
        return part.with_columns(*of_readable, shard=self._shard_keys.gather(number))

    def _measure(self, texts: pl.Series, template: str) -> pl.DataFrame:
        # Lengths describe the caption itself, the ratios describe it inside the text template.
        return measure_captions(texts, template, flagged_words=self._flagged, bare_lengths=True)

    def _kept_by_template_rules(self, measured: pl.DataFrame, readable: pl.Series) -> int:
        rules = self._curation.rules
        broken = [outside(measured[name].to_numpy(), rules[name]) for name in TEMPLATE_RULES if name in self._on]
        return int(np.count_nonzero(readable.to_numpy() & ~np.logical_or.reduce(broken, axis=0)))

    def _note(self, part: pl.DataFrame, notes: Notes) -> None:
        """Remember what the rules need to know of every caption once the last one has been read."""
        notes.add(UNREADABLE_ROW, part["text"].is_null().to_numpy())
        for name in self._asked:
            noted = RULES[name].note(part, self._curation.rules[name])
            if noted is not None:
                notes.add(name, noted)

    def _ask_rules(self, notes: Notes, verdicts: Verdicts, scratch: TemporaryTable) -> dict[str, np.ndarray]:
        """Ask every rule in the recipe's order; gives the costly statistics, float64 with NaN where not measured."""
        captions = AllCaptions(scratch, verdicts, self._measured, self._on_progress)
        unreadable = notes.take(UNREADABLE_ROW)
        assert unreadable is not None
        verdicts.reject(UNREADABLE_ROW, unreadable)
        for name in self._asked:
            settings = self._curation.rules[name]
            broken, unmeasured = RULES[name].judge(notes.take(name), captions, settings)
            if unmeasured is None:
                verdicts.reject(name, broken)
            else:
                verdicts.reject_measured(name, settings, broken, unmeasured)
        return captions.statistics

    def _divided(self, judged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        added = self.schema.names()
        order = [*(name for name in judged.columns if name not in (*added, "rejected_by")), *added]
        kept = pl.col("rejected_by").is_null()
        return judged.filter(kept).select(order), judged.filter(~kept).select(*order, "rejected_by")
