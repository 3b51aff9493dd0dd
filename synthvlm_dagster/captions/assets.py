"""What Dagster sees of the first stage: the captions as found, the kept and the rejected."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from synthvlm_dagster.captions.curate import CURATION_COLUMNS, curate_captions
from synthvlm_dagster.captions.readers import RAW_COLUMNS, read_captions, source_version
from synthvlm_dagster.captions.summaries import (
    problems_by_source,
    rejections_markdown,
    shortened,
    sources_markdown,
    statistics_markdown,
)
from synthvlm_dagster.captions.tables import CURATED, RAW, REJECTED
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.metadata import table_metadata
from synthvlm_dagster.recipe import Recipe, active_recipe
from synthvlm_dagster.storage import Storage

_ROWS_SHOWN = 10
_DESCRIPTIONS = {**RAW_COLUMNS, **CURATION_COLUMNS}


@dg.asset(
    group_name="captions",
    kinds={"polars", "parquet"},
    owners=["team:data"],
    code_version=f"1-{fingerprint(*active_recipe().sources)}",
)
def raw_captions(
    context: dg.AssetExecutionContext, recipe: dg.ResourceParam[Recipe], storage: dg.ResourceParam[Storage]
) -> dg.MaterializeResult:
    """Every caption of the recipe's sources as it was found (SynthVLM §3.1, the pool before curation).

    One row is one caption, or one row of a file that holds no usable caption, with the reason.
    """
    version = source_version(recipe.sources)
    raw = read_captions(recipe.sources, on_progress=context.log.info)
    storage.write_table(RAW, raw)
    by_source = problems_by_source(raw)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(storage.version(RAW)),
        metadata={
            **_table(storage, RAW, raw),
            "source_version": version,
            "sources": dg.MetadataValue.md(sources_markdown(raw)),
            "unreadable_rows": int(by_source["unreadable"].sum()),
            "preview": _preview(raw, "source", "source_file", "source_row", "text", "problem"),
        },
    )


_CURATION: dict[str, Any] = {
    "deps": [raw_captions],
    "group_name": "captions",
    "kinds": {"polars", "parquet"},
    "owners": ["team:data"],
    "code_version": f"1-{fingerprint(active_recipe().curation, active_recipe().shards)}",
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "curated_captions",
            description="The captions worth an image: every rule of the recipe keeps them, and no two are the same "
            "(SynthVLM §3.1).\n\nOne row is one caption with everything measured on it, and its shard.",
            **_CURATION,
        ),
        dg.AssetSpec(
            "rejected_captions",
            description="The captions that curation rejects (SynthVLM §3.1).\n\nOne row is one caption with "
            "everything measured on it, and the first rule that rejects it.",
            **_CURATION,
        ),
    ],
)
def curate(recipe: dg.ResourceParam[Recipe], storage: dg.ResourceParam[Storage]) -> Iterator[dg.MaterializeResult]:
    """Judge every raw caption by the rules of the recipe."""
    raw = storage.scan(RAW).collect()
    curated, rejected = curate_captions(raw, recipe.curation, recipe.shard_keys)
    storage.write_table(REJECTED, rejected)
    storage.write_table(CURATED, curated)
    shared: dict[str, Any] = {
        "kept_share": curated.height / raw.height,
        "rejected_by_rule": dg.MetadataValue.md(rejections_markdown(rejected, raw.height)),
    }
    for key, table, captions, columns in (
        ("curated_captions", CURATED, curated, ("source", "text", "shard")),
        ("rejected_captions", REJECTED, rejected, ("source", "text", "rejected_by", "problem")),
    ):
        yield dg.MaterializeResult(
            asset_key=key,
            data_version=dg.DataVersion(storage.version(table)),
            metadata={
                **_table(storage, table, captions),
                **shared,
                "statistics": dg.MetadataValue.md(statistics_markdown(captions, recipe.curation)),
                "preview": _preview(captions, *columns),
            },
        )


def _table(storage: Storage, table: str, captions: pl.DataFrame) -> dict[str, Any]:
    return table_metadata(storage, table, row_count=captions.height, schema=captions.schema, descriptions=_DESCRIPTIONS)


def _preview(captions: pl.DataFrame, *columns: str) -> dg.TableMetadataValue:
    shown = captions.select(columns)
    rows = shown.head(_ROWS_SHOWN).with_columns(pl.col(pl.String).fill_null("")).to_dicts()
    return dg.MetadataValue.table(
        [dg.TableRecord({**row, "text": shortened(row["text"])}) for row in rows],
        schema=dg.TableSchema(
            [dg.TableColumn(name, str(dtype), _DESCRIPTIONS[name]) for name, dtype in shown.schema.items()]
        ),
    )
