"""Judge every caption by the recipe's rules and split the table into kept and rejected (SynthVLM §3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from synthvlm_dagster.captions.duplicates import duplicate_keys
from synthvlm_dagster.captions.flagged_words import read_flagged_words
from synthvlm_dagster.captions.languages import identify_languages
from synthvlm_dagster.captions.measures.measurements import MeasurementStore
from synthvlm_dagster.captions.near_duplicates import near_duplicates
from synthvlm_dagster.captions.rules import SCHEMA as STATISTICS_SCHEMA
from synthvlm_dagster.captions.rules import STATISTICS, measure_captions
from synthvlm_dagster.captions.verdicts import Facts, Verdicts, below_the_best, outside
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Bounds, Curation
from synthvlm_dagster.recipe.curation import KeepTop
from synthvlm_dagster.store.temporary_table import TemporaryTable

UNREADABLE_ROW = "unreadable_row"
LENGTH_RULES = ("text_length", "num_words")
RATIO_RULES = ("alnum_ratio", "special_char_ratio", "flagged_words_ratio", "word_rep_ratio", "char_rep_ratio")
CARRIED_RULES = ("watermark_score", "nsfw_score")
COSTLY_RULES = ("image_text_similarity", "perplexity", "image_text_matching", "judge")
"""Rules whose statistic a `Measure` gives."""

BARE_TEXT = "{caption}"
WRAPPED_TEXT = str(Curation.model_fields["text_template"].default)

CURATION_COLUMNS = {
    **STATISTICS,
    "language": "Most likely language, ISO 639-1.",
    "language_score": "Probability of that language, in [0, 1].",
    "image_text_similarity": "CLIP cosine with the original image, in [-1, 1]: the source's own, or measured.",
    "perplexity": "Perplexity under the recipe's language model.",
    "image_text_matching": "Probability that the caption fits its original image (BLIP), in [0, 1].",
    "judge": "What the language model said of the caption: 1 for yes, 0 for no.",
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
        kept_by_text: of those, how many the ratio rules alone would keep, by text template: the recipe's, and the bare
            caption (or the paper's wrapping, where the recipe's is bare).
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
        self.kept_by_text = {curation.text_template: 0, other: 0}
        self._curation = curation
        self._shard_keys = pl.Series(shard_keys, dtype=pl.String)
        self._measured = measured or {}
        self._on_progress = on_progress
        self._flagged = read_flagged_words(curation.flagged_words) if curation.flagged_words else None
        self._switched_on = [rule for rule in curation.rule_order if getattr(curation.rules, rule)]

    @property
    def schema(self) -> pl.Schema:
        """Columns and types that this curation adds to raw's in the curated captions; the rejected have one more."""
        optional = [rule for rule in ("language", *COSTLY_RULES) if rule in self._switched_on]
        types: dict[str, Any] = dict(STATISTICS_SCHEMA)
        for rule in optional:
            types |= {"language": pl.String, "language_score": pl.Float64} if rule == "language" else {rule: pl.Float64}
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
            facts = self._measure_texts(raw, scratch)
            verdicts = Verdicts(self.rows)
            late = self._ask_rules(facts, verdicts, scratch)
            start = 0
            for part in scratch.batches():
                stop = start + part.height
                columns = {name: pl.Series(values[start:stop], nan_to_null=True) for name, values in late.items()}
                judged = part.with_columns(**columns).hstack(verdicts.columns(start, stop))
                yield self._divided(judged)
                start = stop

    def _measure_texts(self, raw: Iterable[pl.DataFrame], scratch: TemporaryTable) -> Facts:
        facts = Facts()
        with Progress("captions measured", self._on_progress) as progress:
            parts = (self._with_text_statistics(part) for part in raw)
            first = next(parts)
            with scratch.writer(first.schema) as write:
                for part in chain([first], parts):
                    write(part)
                    self._note_facts(part, facts)
                    self.rows += part.height
                    progress.report(self.rows)
        return facts

    def _with_text_statistics(self, part: pl.DataFrame) -> pl.DataFrame:
        readable = part["text"].is_not_null()
        texts = part["text"].fill_null("")
        template, other = self.kept_by_text
        measured = self._measure(texts, template)
        self.kept_by_text[template] += self._kept_by_ratios(measured, readable)
        self.kept_by_text[other] += self._kept_by_ratios(self._measure(texts, other), readable)
        if "language" in self._switched_on:
            measured = measured.hstack(identify_languages(texts))
        of_readable = [pl.when(readable).then(column).alias(column.name) for column in measured.get_columns()]
        number = part["caption_id"].str.to_integer(base=16, dtype=pl.UInt64) % len(self._shard_keys)
        return part.with_columns(*of_readable, shard=self._shard_keys.gather(number))

    def _measure(self, texts: pl.Series, template: str) -> pl.DataFrame:
        # Lengths describe the caption itself, the ratios describe it inside the text template.
        return measure_captions(texts, template, flagged_words=self._flagged, bare_lengths=True)

    def _kept_by_ratios(self, measured: pl.DataFrame, readable: pl.Series) -> int:
        broken = [self._broken(rule, measured) for rule in self._on(RATIO_RULES)]
        return int(np.count_nonzero(readable.to_numpy() & ~np.logical_or.reduce(broken, axis=0)))

    def _note_facts(self, part: pl.DataFrame, facts: Facts) -> None:
        """Remember what the rules need to know of every caption once the last one has been read."""
        rules = self._curation.rules
        facts.add("unreadable", part["text"].is_null().to_numpy())
        for rule in self._on((*LENGTH_RULES, *RATIO_RULES, *CARRIED_RULES)):
            facts.add(f"broken {rule}", self._broken(rule, part))
        for rule in self._on(CARRIED_RULES):
            facts.add(f"unmeasured {rule}", part[rule].is_null().to_numpy())
        if rules.language:
            other = ~part["language"].is_in(rules.language.keep) | (part["language_score"] < rules.language.min_score)
            facts.add("broken language", other.fill_null(value=False).to_numpy())
        if rules.image_text_similarity:
            facts.add("carried similarity", part["clip_similarity"].to_numpy().astype(np.float64))
        if rules.duplicates:
            keys = duplicate_keys(part["text"].fill_null(""))
        else:
            # The same caption found twice in one source is one caption, whatever the recipe says.
            keys = part["caption_id"].str.to_integer(base=16, dtype=pl.UInt64)
        facts.add("duplicate key", keys.to_numpy())

    def _broken(self, rule: str, measured: pl.DataFrame) -> np.ndarray:
        bounds: Bounds = getattr(self._curation.rules, rule)
        return outside(measured[rule].to_numpy(), bounds)

    def _ask_rules(self, facts: Facts, verdicts: Verdicts, scratch: TemporaryTable) -> dict[str, np.ndarray]:
        """Ask every rule in the recipe's order; gives the costly statistics, float64 with NaN where not measured."""
        rules = self._curation.rules
        late: dict[str, np.ndarray] = {}
        verdicts.reject(UNREADABLE_ROW, facts.take("unreadable"))
        for rule in self._curation.rule_order:
            settings = getattr(rules, rule)
            if rule == "duplicates":
                self._reject_duplicates(facts, verdicts, scratch)
            elif settings is None:
                continue
            elif rule in CARRIED_RULES:
                unmeasured = facts.take(f"unmeasured {rule}")
                verdicts.reject_measured(rule, settings, facts.take(f"broken {rule}"), unmeasured)
            elif rule in COSTLY_RULES:
                known = facts.take("carried similarity") if rule == "image_text_similarity" else None
                late[rule] = self._costly_values(rule, verdicts, scratch, known)
                bounds = Bounds(min=1.0) if rule == "judge" else settings
                verdicts.reject_measured(rule, settings, outside(late[rule], bounds), np.isnan(late[rule]))
            elif isinstance(settings, KeepTop):
                similarity = late["image_text_similarity"]
                below = below_the_best(settings, similarity, verdicts.kept)
                verdicts.reject_measured(rule, settings, below, np.isnan(similarity))
            else:
                verdicts.reject(rule, facts.take(f"broken {rule}"))
        return late

    def _reject_duplicates(self, facts: Facts, verdicts: Verdicts, scratch: TemporaryTable) -> None:
        kept = np.flatnonzero(verdicts.kept)
        first = pl.Series(facts.take("duplicate key")[kept]).is_first_distinct().to_numpy()
        copies = np.zeros(self.rows, dtype=bool)
        copies[kept[~first]] = True
        rule = self._curation.rules.duplicates
        if rule and rule.method == "near":
            unique = verdicts.kept & ~copies
            texts = (part["text"] for _, part in _rows_of(scratch, unique, ["text"]))
            copies[unique] = near_duplicates(texts, rule.similarity, self._on_progress)
        verdicts.reject("duplicates", copies)

    def _costly_values(
        self, rule: str, verdicts: Verdicts, scratch: TemporaryTable, known: np.ndarray | None = None
    ) -> np.ndarray:
        values = np.full(self.rows, np.nan) if known is None else known
        store = self._measured.get(rule)
        if store:
            asked = verdicts.kept & np.isnan(values)
            self._on_progress(f"{rule}: {asked.sum():,} captions to measure, or to look up")
            for places, part in _rows_of(scratch, asked, ["text", "image_uri"]):
                values[places] = store.values(part, self._on_progress).to_numpy()
        return values

    def _divided(self, judged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        added = self.schema.names()
        order = [*(name for name in judged.columns if name not in (*added, "rejected_by")), *added]
        kept = pl.col("rejected_by").is_null()
        return judged.filter(kept).select(order), judged.filter(~kept).select(*order, "rejected_by")

    def _on(self, rules: Sequence[str]) -> list[str]:
        return [rule for rule in rules if rule in self._switched_on]


def _rows_of(
    scratch: TemporaryTable, wanted: np.ndarray, columns: list[str]
) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
    """The places of the wanted rows and their columns, a part at a time."""
    start = 0
    for part in scratch.batches(columns):
        here = wanted[start : start + part.height]
        if here.any():
            yield start + np.flatnonzero(here), part.filter(pl.Series(here))
        start += part.height
