"""What must hold of the captions before a GPU spends time on them."""

import dagster as dg
import polars as pl

from synthvlm_dagster.captions.assets import raw_captions
from synthvlm_dagster.captions.summaries import problems_by_source, rejections_by_rule, unmeasured_by_rule
from synthvlm_dagster.captions.tables import CURATED, RAW, REJECTED
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

MOST_UNREADABLE = 0.01
"""Share of a source's rows that may be unreadable without a warning."""

_RULES_NAMED = 3


@dg.asset_check(asset=raw_captions)
def rows_are_readable(storage: dg.ResourceParam[Storage]) -> dg.AssetCheckResult:
    """Of each source, at most 1 % of the rows have no usable caption."""
    by_source = problems_by_source(storage.scan(RAW))
    faulty = by_source.filter(pl.col("unreadable") > MOST_UNREADABLE * pl.col("rows")).to_dicts()
    described = [
        f"source {row['source']}: {row['unreadable']:,} of {row['rows']:,} rows, most often: {row['problem']}"
        for row in faulty
    ]
    return dg.AssetCheckResult(
        passed=not faulty,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(described) or None,
        metadata={"unreadable_rows": int(by_source["unreadable"].sum())},
    )


@dg.asset_check(asset="curated_captions", additional_deps=["rejected_captions"], blocking=True)
def captions_are_left(recipe: dg.ResourceParam[Recipe], storage: dg.ResourceParam[Storage]) -> dg.AssetCheckResult:
    """Curation keeps at least one caption."""
    count = storage.scan(CURATED).select(pl.len()).collect().item()
    if count:
        return dg.AssetCheckResult(passed=True, metadata={"captions": count})
    by_rule = rejections_by_rule(storage.scan(REJECTED), recipe.curation).sort("rejected", descending=True)
    counts = by_rule.select("rule", "rejected").head(_RULES_NAMED).rows()
    rules = ", ".join(f"{rule} ({rejected:,})" for rule, rejected in counts)
    return dg.AssetCheckResult(
        passed=False,
        description=f"No caption is left. The rules that rejected most: {rules}. Widen their bounds in curation.rules, "
        "or correct the sources",
        metadata={"captions": 0},
    )


@dg.asset_check(asset="curated_captions")
def every_rule_was_measured(storage: dg.ResourceParam[Storage]) -> dg.AssetCheckResult:
    """No caption was kept for want of a statistic: without its image, without an answer of the judge."""
    unmeasured = unmeasured_by_rule(storage.scan(CURATED)).rows()
    named = ", ".join(f"{rule} ({captions:,})" for rule, captions in unmeasured)
    return dg.AssetCheckResult(
        passed=not unmeasured,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Captions kept without a verdict of: {named}. They are listed in the column not_measured; set "
        "if_not_measured: reject to do without them"
        if unmeasured
        else None,
        metadata=dict(unmeasured),
    )
