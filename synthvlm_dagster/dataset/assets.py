"""What Dagster sees of the fourth stage: the selected pairs, their exports and the report."""

from typing import Any

import dagster as dg
import polars as pl

from synthvlm_dagster.dataset.coverage import complete_scores
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS, best_attempts, select_pairs, weighted_score
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.metadata import table_metadata
from synthvlm_dagster.recipe import Recipe, active_recipe
from synthvlm_dagster.scores.assets import image_scores
from synthvlm_dagster.scores.histogram import text_histogram
from synthvlm_dagster.storage import Storage

_MEASURES = ("clip_score", "ssim", "weighted_score")
_PAIRS_SHOWN = 8


@dg.asset(
    deps=[image_scores],
    group_name="dataset",
    kinds={"polars", "parquet"},
    owners=["team:data"],
    code_version=f"1-{fingerprint(active_recipe().selection)}",
)
def selected_pairs(recipe: dg.ResourceParam[Recipe], storage: dg.ResourceParam[Storage]) -> dg.MaterializeResult:
    """The pairs that are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3).

    One row is one selected image with its caption, scores and rank.
    """
    scores = complete_scores(recipe, storage)
    storage.write_table(SELECTED, select_pairs(scores, recipe.selection, recipe.seed))
    selected = storage.scan(SELECTED).collect()
    groups = {
        "generated": scores,
        "best_attempts": best_attempts(scores, recipe.selection, recipe.seed),
        "selected": selected.lazy(),
    }
    weighted = weighted_score(recipe.selection.ssim_weight)
    measures = {name: group.select(*_MEASURES[:2], weighted).collect() for name, group in groups.items()}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(storage.version(SELECTED)),
        metadata={
            **table_metadata(
                storage,
                SELECTED,
                row_count=selected.height,
                schema=selected.schema,
                descriptions=SELECTED_COLUMNS,
            ),
            "strategy": recipe.selection.strategy,
            **{f"images_{name}": frame.height for name, frame in measures.items()},
            **_means(measures),
            **_histograms(measures),
            "highest": _shown(selected.head(_PAIRS_SHOWN)),
            "lowest": _shown(selected.tail(_PAIRS_SHOWN)),
        },
    )


def _means(measures: dict[str, pl.DataFrame]) -> dict[str, Any]:
    return {f"mean_{column}_{name}": frame[column].mean() for column in _MEASURES for name, frame in measures.items()}


def _histograms(measures: dict[str, pl.DataFrame]) -> dict[str, Any]:
    shown = ("generated", "selected")
    return {
        f"{column}_histogram": dg.MetadataValue.md(text_histogram({name: measures[name][column] for name in shown}))
        for column in _MEASURES
    }


def _shown(pairs: pl.DataFrame) -> dg.TableMetadataValue:
    rounded = pairs.select("rank", "text", pl.col(*_MEASURES).round(4), "image_id")
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rounded.to_dicts()])
