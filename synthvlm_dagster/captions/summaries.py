"""What a person wants to see of a curation: counts, spreads, and the captions that show what each rule does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from synthvlm_dagster.captions.curate import UNREADABLE_ROW
from synthvlm_dagster.captions.measures.measurements import MeasurementStore
from synthvlm_dagster.captions.rules import RULES
from synthvlm_dagster.markdown import as_markdown_text, markdown_table, shortened
from synthvlm_dagster.recipe import Bounds, Curation

EXAMPLES = 10
"""Captions shown of each rule, in each of the two tables of examples."""

_QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}


def rejections_by_rule(rejected: pl.LazyFrame, curation: Curation) -> pl.DataFrame:
    """How many captions each rule rejected, and one of them, in the order of the rules.

    Returns:
        `rule`, `rejected` and `example` (the first caption, or its problem when it has no text); only rules that
        rejected something.
    """
    rules = [UNREADABLE_ROW, *curation.rule_order]
    order = pl.DataFrame({"rule": rules, "place": range(len(rules))})
    counted = rejected.group_by(pl.col("rejected_by").alias("rule")).agg(
        pl.len().cast(pl.Int64).alias("rejected"),
        pl.coalesce("text", "problem").first().alias("example"),
    )
    return counted.collect(engine="streaming").join(order, on="rule").sort("place").drop("place")


def rejections_markdown(by_rule: pl.DataFrame, total: int) -> str:
    """Markdown table of `rejections_by_rule`, with each rule's share of all `total` captions."""
    if by_rule.is_empty():
        return "No caption was rejected."
    rows = [
        (rule, count, f"{count / total:.2%}", as_markdown_text(shortened(example)))
        for rule, count, example in by_rule.iter_rows()
    ]
    return markdown_table(("rule", "rejected#", "share#", "for example"), rows)


def statistics_markdown(measured: pl.LazyFrame, curation: Curation) -> str:
    """Markdown table of each statistic's spread over the captions it was measured on, with the rule's bounds."""
    columns = measured.collect_schema().names()
    rows = []
    for name, rule in RULES.items():
        statistic = rule.statistic
        if statistic is None or statistic not in columns:
            continue
        # One column at a time: of millions of captions only one statistic stands in memory.
        quantiles = [pl.col(statistic).quantile(share).alias(name) for name, share in _QUANTILES.items()]
        spread = (
            measured.select(pl.col(statistic).count().alias("count"), *quantiles).collect(engine="streaming").row(0)
        )
        if spread[0] or curation.rules[name]:
            rows.append((name, kept_text(curation, name), *spread))
    return markdown_table(("statistic", "keep", "measured#", *(f"{name}#" for name in _QUANTILES)), rows)


def most_rejected_markdown(rejected: pl.LazyFrame, curation: Curation) -> str:
    """Markdown table of the captions that break each rule most: the farthest from its bounds, else the first found."""
    rows: list[tuple[object, ...]] = []
    for rule in rejections_by_rule(rejected, curation)["rule"]:
        found = rejected.filter(pl.col("rejected_by") == rule)
        bounds = _bounds(curation, rule)
        if bounds:
            found = found.with_columns(value=pl.col(rule), distance=_distance(rule, bounds))
            found = found.top_k(EXAMPLES, by=["distance", "caption_id"])
        else:
            found = found.with_columns(value=pl.lit(None, dtype=pl.Float64)).head(EXAMPLES)
        shown = found.select(pl.coalesce("text", "problem"), "source", "value").collect(engine="streaming")
        rows += [(rule, value, source, _shown(text)) for text, source, value in shown.iter_rows()]
    return markdown_table(("rule", "value#", "source", "caption"), rows) if rows else "No caption was rejected."


def borderline_markdown(curated: pl.LazyFrame, rejected: pl.LazyFrame, curation: Curation) -> str:
    """Markdown table of the captions nearest to each rule's bounds: half of them kept, half rejected by that rule."""
    rows: list[tuple[object, ...]] = []
    columns = curated.collect_schema().names()
    for rule in curation.rule_order:
        bounds = _bounds(curation, rule)
        if not bounds or rule not in columns:
            continue
        # A ratio of 0 is no near miss: the caption has nothing of what the rule looks for.
        kept = curated.filter(pl.col(rule) != 0)
        for verdict, table in (("kept", kept), ("rejected", rejected.filter(pl.col("rejected_by") == rule))):
            near = table.filter(pl.col(rule).is_not_null()).select(
                "text", "caption_id", value=pl.col(rule), distance=_distance(rule, bounds).abs()
            )
            found = near.bottom_k(EXAMPLES // 2, by=["distance", "caption_id"]).collect(engine="streaming")
            shown = found.select("text", "value").iter_rows()
            rows += [(rule, kept_text(curation, rule), value, verdict, _shown(text)) for text, value in shown]
    return markdown_table(("rule", "keep", "value#", "verdict", "caption"), rows) if rows else "No rule has bounds."


def kept_by_template_markdown(kept_by_template: Mapping[str, int], rows: int, ours: str) -> str:
    """Markdown table of the share of captions that the ratio rules keep, by the template of the text they measure."""
    cells = [
        (as_markdown_text(repr(template)), kept, f"{kept / rows:.2%}", "this recipe" if template == ours else "")
        for template, kept in kept_by_template.items()
    ]
    return markdown_table(("text that is measured", "kept#", "share#", "used by"), cells)


def measurements_markdown(stores: Iterable[MeasurementStore]) -> str:
    """Markdown table of what the costly rules measured, found in the store, and could not measure."""
    rows = []
    for store in stores:
        failed = sum(store.problems.values())
        most = store.problems.most_common(1)
        reason = as_markdown_text(shortened(most[0][0])) if most else None
        spent = ", ".join(f"{total:,} {name}" for name, total in store.spent.items()) or None
        rows.append((store.measure.name, store.measured, store.reused, failed, reason, spent))
    return markdown_table(
        ("statistic", "measured now#", "from the store#", "not measured#", "most often because", "spent now"), rows
    )


def sources_markdown(by_source: pl.DataFrame) -> str:
    """Markdown table of `problems_by_source`."""
    rows = [
        (row["source"], row["files"], row["rows"], row["unreadable"], as_markdown_text(row["problem"] or ""))
        for row in by_source.iter_rows(named=True)
    ]
    return markdown_table(("source", "files#", "rows#", "unreadable#", "most frequent problem"), rows)


def problems_by_source(raw: pl.LazyFrame) -> pl.DataFrame:
    """Per source, in order: `source`, `files`, `rows`, `unreadable` and the most frequent `problem` (or null)."""
    counted = (
        raw.with_row_index("place")
        .group_by("source")
        .agg(
            pl.col("place").min(),
            pl.col("source_file").n_unique().alias("files"),
            pl.len().alias("rows"),
            pl.col("problem").count().alias("unreadable"),
        )
        .collect(engine="streaming")
    )
    problems = (
        raw.filter(pl.col("problem").is_not_null())
        .group_by("source", "problem")
        .len()
        .collect(engine="streaming")
        .sort(["len", "problem"], descending=[True, False])
        .unique("source", keep="first", maintain_order=True)
    )
    return counted.join(problems, on="source", how="left").sort("place").drop("place", "len")


def unmeasured_by_rule(captions: pl.LazyFrame) -> pl.DataFrame:
    """`rule` and `captions`: how many captions each rule had no statistic for, the most first."""
    return (
        captions.select(pl.col("not_measured").alias("rule"))
        .explode("rule")
        .drop_nulls()
        .group_by("rule")
        .agg(pl.len().cast(pl.Int64).alias("captions"))
        .collect(engine="streaming")
        .sort(["captions", "rule"], descending=[True, False])
    )


def _shown(text: str) -> str:
    return as_markdown_text(shortened(text))


def _distance(rule: str, bounds: Bounds) -> pl.Expr:
    """How far a statistic is outside of its bounds; negative inside."""
    statistic = pl.col(rule).cast(pl.Float64)
    sides = [] if bounds.min is None else [bounds.min - statistic]
    return pl.max_horizontal(sides if bounds.max is None else [*sides, statistic - bounds.max])


def _bounds(curation: Curation, rule: str) -> Bounds | None:
    """The rule's bounds, when it is on and has any."""
    settings = None if rule == UNREADABLE_ROW else curation.rules[rule]
    is_bounded = isinstance(settings, Bounds) and (settings.min is not None or settings.max is not None)
    return settings if is_bounded else None


def kept_text(curation: Curation, rule: str) -> str:
    """What a rule keeps, in a few signs: `0.1–0.4`, `en`, `off`; empty for what judges by no statistic."""
    if rule not in RULES or RULES[rule].statistic is None:
        return ""
    settings = curation.rules[rule]
    return "off" if settings is None else RULES[rule].kept_text(settings)
