"""Judge every caption by the recipe's rules and split the table into kept and rejected (SynthVLM §3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from synthvlm_dagster.captions.duplicates import normalized
from synthvlm_dagster.captions.flagged_words import read_flagged_words
from synthvlm_dagster.captions.rules import STATISTICS, measure_captions, measure_lengths
from synthvlm_dagster.recipe import Bounds, Curation

UNREADABLE_ROW = "unreadable_row"
DUPLICATE = "duplicates"
# The order in which rules are asked; the first that rejects a caption is named. Cheap ones come first, and duplicates
# last, among the captions that every other rule keeps: a rejected copy never takes a good one with it.
BOUNDED_RULES = (
    "text_length",
    "num_words",
    "alnum_ratio",
    "special_char_ratio",
    "flagged_words_ratio",
    "word_rep_ratio",
    "char_rep_ratio",
)
RULE_ORDER = (UNREADABLE_ROW, *BOUNDED_RULES, DUPLICATE)
CURATION_COLUMNS = {
    **STATISTICS,
    "shard": "Partition of the caption's images and scores.",
    "rejected_by": "The first rule, in the order of curation, that rejects the caption.",
}


def curate_captions(
    raw: pl.DataFrame, curation: Curation, shard_keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split raw captions into those worth an image and the others.

    Every row of `raw` is in exactly one of the two tables, in the order of `raw`. Of duplicates, the first row is kept.

    Args:
        raw: the columns of `readers.RAW_COLUMNS`.
        curation: rules and their bounds.
        shard_keys: names of the shards, in order.

    Returns:
        Curated and rejected captions: raw's columns, one column per statistic (null for unreadable rows) and `shard`;
        the rejected also have `rejected_by`. `caption_id` is unique among the curated.

    Raises:
        RecipeError: the list of flagged words cannot be read.
    """
    rows = raw.with_row_index("row").with_columns(shard=_shard(raw["caption_id"], shard_keys))
    readable = rows.filter(pl.col("text").is_not_null())
    unreadable = rows.filter(pl.col("text").is_null()).with_columns(rejected_by=pl.lit(UNREADABLE_ROW))
    judged = readable.hstack(_measured(readable["text"], curation)).with_columns(
        rejected_by=_first_broken_rule(curation)
    )
    kept = pl.col("rejected_by").is_null()
    unique = judged.filter(kept).filter(_is_first_copy(judged.filter(kept), curation))
    copies = judged.filter(kept).join(unique, on="row", how="anti").with_columns(rejected_by=pl.lit(DUPLICATE))
    order = [*raw.columns, *STATISTICS, "shard"]
    rejected = pl.concat([judged.filter(~kept), copies, unreadable], how="diagonal").sort("row")
    return unique.select(order), rejected.select(*order, "rejected_by")


def _measured(texts: pl.Series, curation: Curation) -> pl.DataFrame:
    flagged = read_flagged_words(curation.flagged_words) if curation.flagged_words else None
    statistics = measure_captions(texts, curation.text_template, flagged_words=flagged)
    # Lengths describe the caption itself, the ratios describe it inside the recipe's text template.
    return statistics.with_columns(measure_lengths(texts).get_columns())


def _first_broken_rule(curation: Curation) -> pl.Expr:
    broken = [
        pl.when(~_within(pl.col(rule), bounds)).then(pl.lit(rule))
        for rule in BOUNDED_RULES
        if (bounds := getattr(curation.rules, rule))
    ]
    return pl.coalesce(*broken, pl.lit(None, dtype=pl.String))


def _within(statistic: pl.Expr, bounds: Bounds) -> pl.Expr:
    above = pl.lit(True) if bounds.min is None else statistic >= bounds.min
    below = pl.lit(True) if bounds.max is None else statistic <= bounds.max
    return above & below


def _is_first_copy(kept: pl.DataFrame, curation: Curation) -> pl.Series:
    if curation.rules.duplicates:
        return normalized(kept["text"]).is_first_distinct()
    # The same caption found twice in one source is one caption, whatever the recipe says.
    return kept["caption_id"].is_first_distinct()


def _shard(caption_ids: pl.Series, shard_keys: Sequence[str]) -> pl.Series:
    number = caption_ids.str.to_integer(base=16, dtype=pl.UInt64) % len(shard_keys)
    return pl.Series(shard_keys, dtype=pl.String).gather(number)
