"""What Dagster sees of the first stage: the captions as found, the kept and the rejected."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from synthvlm_dagster.captions.made_from import (
    CURATION_CODE,
    RAW_CODE,
    RawOrigin,
    curation_made_from,
    curation_settings,
    raw_settings,
    source_version,
)
from synthvlm_dagster.captions.tables import CURATED, RAW, REJECTED
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.markdown import shortened
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.launchpad import OneRun, curation_of_one_run
from synthvlm_dagster.orchestration.metadata import markdown, table_metadata

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.store.storage import Storage

_ROWS_SHOWN = 10


def caption_assets(dataset: Dataset) -> list[dg.AssetsDefinition]:
    """The assets of the first stage."""
    return [raw_captions(dataset), curate(dataset)]


def raw_captions(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `raw_captions` of a dataset."""

    @dg.asset(
        key=dataset.key("raw_captions"),
        **dataset.of_stage("captions"),
        kinds={"polars", "parquet"},
        code_version=f"{RAW_CODE}-{fingerprint(raw_settings(dataset.recipe))}",
    )
    def raw_captions(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Every caption of the recipe's sources as it was found (SynthVLM §3.1, the pool before curation).

        One row is one caption, or one row of a file that holds no usable caption, with the reason.
        """
        from synthvlm_dagster.captions.readers import RAW_SCHEMA, read_captions
        from synthvlm_dagster.captions.summaries import problems_by_source, sources_markdown

        recipe, storage = dataset.recipe, dataset.storage
        version = source_version(recipe.sources)
        origin = RawOrigin(recipe)
        with storage.table_writer(RAW, RAW_SCHEMA, made_from=origin.record) as write:
            for part in read_captions(recipe.sources, on_progress=context.log.info):
                write(part)
                origin.saw(part)
        raw = storage.scan(RAW)
        by_source = problems_by_source(raw)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(storage.version(RAW)),
            metadata={
                **_table(storage, RAW, raw),
                "source_version": version,
                "sources": markdown(sources_markdown(by_source)),
                "unreadable_rows": int(by_source["unreadable"].sum()),
                "preview": _preview(raw, "source", "source_file", "source_row", "text", "problem"),
            },
        )

    return raw_captions


def curate(dataset: Dataset) -> dg.AssetsDefinition:
    """The assets `curated_captions` and `rejected_captions` of a dataset, made together."""
    curation: dict[str, Any] = {
        **dataset.of_stage("captions"),
        "deps": [dataset.key("raw_captions")],
        "kinds": {"polars", "parquet"},
        "code_version": f"{CURATION_CODE}-{fingerprint(curation_settings(dataset.recipe))}",
    }
    one_run = curation_of_one_run(dataset.recipe)

    @dg.multi_asset(
        name=dataset.name("curate"),
        specs=[
            dg.AssetSpec(
                dataset.key("curated_captions"),
                description="The captions worth an image: every rule of the recipe keeps them, and no two are the same "
                "(SynthVLM §3.1).\n\nOne row is one caption with everything measured on it, and its shard.",
                **curation,
            ),
            dg.AssetSpec(
                dataset.key("rejected_captions"),
                description="The captions that curation rejects (SynthVLM §3.1).\n\nOne row is one caption with "
                "everything measured on it, and the first rule that rejects it.",
                **curation,
            ),
        ],
    )
    def curate(
        context: dg.AssetExecutionContext,
        config: one_run,  # type: ignore[valid-type]
    ) -> Iterator[dg.MaterializeResult]:
        """Judge every raw caption by the rules of the recipe."""
        import polars as pl

        from synthvlm_dagster.captions.curate import Curator
        from synthvlm_dagster.captions.kept_by_template import write_kept_by_template
        from synthvlm_dagster.captions.measures.costly import costs_of_measuring, measurement_stores
        from synthvlm_dagster.captions.readers import RAW_SCHEMA
        from synthvlm_dagster.captions.summaries import (
            borderline_markdown,
            kept_by_template_markdown,
            measurements_markdown,
            most_rejected_markdown,
            rejections_by_rule,
            rejections_markdown,
            statistics_markdown,
        )

        recipe, storage = dataset.recipe, dataset.storage
        recipe, one_run, set_for_this_run = cast("OneRun", config).apply(recipe, context.log)
        record = curation_made_from(recipe, storage, one_run)
        curation = recipe.curation
        stores = measurement_stores(curation, storage)
        curator = Curator(curation, recipe.shard_keys, stores, context.log.info)
        schema = pl.Schema([*RAW_SCHEMA.items(), *curator.schema.items()])
        rejected_schema = pl.Schema([*schema.items(), ("rejected_by", pl.String())])
        with (
            storage.table_writer(REJECTED, rejected_schema, record) as write_rejected,
            storage.table_writer(CURATED, schema, record) as write_curated,
        ):
            for kept, others in curator.split(storage.batches(RAW)):
                write_curated(kept)
                write_rejected(others)
            write_kept_by_template(storage, curator, record)
        curated, rejected = storage.scan(CURATED), storage.scan(REJECTED)
        count = curated.select(pl.len()).collect().item()
        by_rule = rejections_by_rule(rejected, curation)
        shared: dict[str, Any] = {
            "kept_share": count / curator.rows,
            **costs_of_measuring(stores, curation),
            "rejected_by_rule": markdown(rejections_markdown(by_rule, curator.rows)),
            "kept_by_template": markdown(
                kept_by_template_markdown(curator.kept_by_template, curator.rows, curation.text_template)
            ),
        }
        if stores:
            shared["measurements"] = markdown(measurements_markdown(stores.values()))
        curated_only = {"borderline": markdown(borderline_markdown(curated, rejected, curation))}
        rejected_only = {"most_rejected": markdown(most_rejected_markdown(rejected, curation))}
        for key, table, captions, columns, own in (
            ("curated_captions", CURATED, curated, ("source", "text", "shard"), curated_only),
            ("rejected_captions", REJECTED, rejected, ("source", "text", "rejected_by", "problem"), rejected_only),
        ):
            yield dg.MaterializeResult(
                asset_key=dataset.key(key),
                data_version=dg.DataVersion(storage.version(table)),
                metadata={
                    **_table(storage, table, captions),
                    **set_for_this_run,
                    **shared,
                    **own,
                    "statistics": markdown(statistics_markdown(captions, curation)),
                    "preview": _preview(captions, *columns),
                },
            )

    return curate


def _table(storage: "Storage", table: str, captions: "pl.LazyFrame") -> dict[str, Any]:
    import polars as pl

    count = captions.select(pl.len()).collect().item()
    return table_metadata(
        storage, table, row_count=count, schema=captions.collect_schema(), descriptions=_descriptions()
    )


def _preview(captions: "pl.LazyFrame", *columns: str) -> dg.TableMetadataValue:
    import polars as pl

    shown = captions.select(columns).head(_ROWS_SHOWN).collect()
    rows = shown.with_columns(pl.col(pl.String).fill_null("")).to_dicts()
    descriptions = _descriptions()
    return dg.MetadataValue.table(
        [dg.TableRecord({**row, "text": shortened(row["text"])}) for row in rows],
        schema=dg.TableSchema(
            [dg.TableColumn(name, str(dtype), descriptions[name]) for name, dtype in shown.schema.items()]
        ),
    )


def _descriptions() -> dict[str, str]:
    from synthvlm_dagster.captions.curate import CURATION_COLUMNS
    from synthvlm_dagster.captions.readers import RAW_COLUMNS

    return {**RAW_COLUMNS, **CURATION_COLUMNS}
