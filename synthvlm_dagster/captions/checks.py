"""What must hold of the captions before a GPU spends time on them."""

import dagster as dg

from synthvlm_dagster.captions.tables import CURATED, RAW, REJECTED
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.held_checks import held

MOST_UNREADABLE = 0.01
"""Share of a source's rows that may be unreadable without a warning."""

_RULES_NAMED = 3


def caption_checks(dataset: Dataset) -> list[dg.AssetChecksDefinition]:
    """The checks of the first stage."""
    return [rows_are_readable(dataset), captions_are_left(dataset), every_rule_was_measured(dataset)]


def rows_are_readable(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `rows_are_readable` of a dataset."""

    @dg.asset_check(asset=dataset.key("raw_captions"))
    def rows_are_readable() -> dg.AssetCheckResult:
        """Of each source, at most 1 % of the rows have no usable caption."""
        import polars as pl

        from synthvlm_dagster.captions.summaries import problems_by_source

        storage = dataset.storage
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

    return rows_are_readable


def captions_are_left(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `captions_are_left` of a dataset."""

    @dg.asset_check(
        asset=dataset.key("curated_captions"), additional_deps=[dataset.key("rejected_captions")], blocking=True
    )
    def captions_are_left() -> dg.AssetCheckResult:
        """Curation keeps at least one caption."""
        import polars as pl

        from synthvlm_dagster.captions.summaries import rejections_by_rule

        recipe, storage = dataset.recipe, dataset.storage

        def evaluate() -> dg.AssetCheckResult:
            count = storage.scan(CURATED).select(pl.len()).collect().item()
            if count:
                return dg.AssetCheckResult(passed=True, metadata={"captions": count})
            by_rule = rejections_by_rule(storage.scan(REJECTED), recipe.curation).sort("rejected", descending=True)
            counts = by_rule.select("rule", "rejected").head(_RULES_NAMED).rows()
            rules = ", ".join(f"{rule} ({rejected:,})" for rule, rejected in counts)
            return dg.AssetCheckResult(
                passed=False,
                description=f"No caption is left. The rules that rejected most: {rules}. Widen their bounds in "
                "curation.rules, or correct the sources",
                metadata={"captions": 0},
            )

        return held(storage, CURATED, "captions_are_left", evaluate)

    return captions_are_left


def every_rule_was_measured(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `every_rule_was_measured` of a dataset."""

    @dg.asset_check(asset=dataset.key("curated_captions"))
    def every_rule_was_measured() -> dg.AssetCheckResult:
        """No caption was kept for want of a statistic: without its image, without an answer of the judge."""
        from synthvlm_dagster.captions.summaries import unmeasured_by_rule

        storage = dataset.storage
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

    return every_rule_was_measured
