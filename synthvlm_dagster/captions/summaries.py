"""What a person wants to see of a curation, as markdown in which captions are text and nothing else."""

from __future__ import annotations

import re

import polars as pl

from synthvlm_dagster.captions.curate import BOUNDED_RULES, RULE_ORDER
from synthvlm_dagster.recipe import Curation

_LONGEST_SHOWN = 120
_QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
# Every ASCII sign that can begin markup; a full stop only where it could make a link.
_MARKUP = re.compile(r"[!-&(-+\-/:-@\[-`{-~]|\.(?=\w)")


def as_markdown_text(text: str) -> str:
    """The text in one line that a markdown page shows as it is: no table cell, tag, link or emphasis begins in it."""
    return _MARKUP.sub(lambda sign: f"&#{ord(sign.group())};", " ".join(text.split()))


def shortened(text: str) -> str:
    """The beginning of a long text, with an ellipsis."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def rejections_by_rule(rejected: pl.DataFrame) -> pl.DataFrame:
    """How many captions each rule rejected, and one of them, in the order of the rules.

    Returns:
        `rule`, `rejected` and `example` (the first caption, or its problem when it has no text); only rules that
        rejected something.
    """
    order = pl.DataFrame({"rule": RULE_ORDER, "place": range(len(RULE_ORDER))})
    counted = rejected.group_by(pl.col("rejected_by").alias("rule")).agg(
        pl.len().cast(pl.Int64).alias("rejected"),
        pl.coalesce("text", "problem").first().alias("example"),
    )
    return counted.join(order, on="rule").sort("place").drop("place")


def rejections_markdown(rejected: pl.DataFrame, total: int) -> str:
    """Markdown table of `rejections_by_rule`, with each rule's share of all `total` captions."""
    if rejected.is_empty():
        return "No caption was rejected."
    lines = ["| rule | rejected | share | for example |", "|---|---:|---:|---|"]
    for rule, count, example in rejections_by_rule(rejected).iter_rows():
        lines.append(f"| {rule} | {count:,} | {count / total:.2%} | {as_markdown_text(shortened(example))} |")
    return "\n".join(lines)


def statistics_markdown(measured: pl.DataFrame, curation: Curation) -> str:
    """Markdown table of each statistic's spread over the captions that could be read, with the rule's bounds."""
    lines = [f"| statistic | keep | {' | '.join(_QUANTILES)} |", "|---|---|" + "---:|" * len(_QUANTILES)]
    for rule in BOUNDED_RULES:
        values = measured[rule].drop_nulls()
        quantiles = [values.quantile(share, interpolation="nearest") for share in _QUANTILES.values()]
        cells = ["" if value is None else f"{value:.6g}" for value in quantiles]
        lines.append(f"| {rule} | {_bounds(curation, rule)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sources_markdown(raw: pl.DataFrame) -> str:
    """Markdown table of the rows, bad rows and most frequent problem of each source."""
    lines = ["| source | files | rows | unreadable | most frequent problem |", "|---|---:|---:|---:|---|"]
    for row in problems_by_source(raw).iter_rows(named=True):
        problem = as_markdown_text(row["problem"] or "")
        lines.append(f"| {row['source']} | {row['files']:,} | {row['rows']:,} | {row['unreadable']:,} | {problem} |")
    return "\n".join(lines)


def problems_by_source(raw: pl.DataFrame) -> pl.DataFrame:
    """Per source, in order: `source`, `files`, `rows`, `unreadable` and the most frequent `problem` (or null)."""
    return raw.group_by("source", maintain_order=True).agg(
        pl.col("source_file").n_unique().alias("files"),
        pl.len().alias("rows"),
        pl.col("problem").count().alias("unreadable"),
        pl.col("problem").drop_nulls().mode().sort().first().alias("problem"),
    )


def _bounds(curation: Curation, rule: str) -> str:
    bounds = getattr(curation.rules, rule)
    if bounds is None:
        return "off"
    least = [] if bounds.min is None else [f"≥ {bounds.min:g}"]
    most = [] if bounds.max is None else [f"≤ {bounds.max:g}"]
    return " and ".join(least + most) or "any"
