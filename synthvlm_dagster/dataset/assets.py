"""What Dagster sees of the fourth stage: the selected pairs, their exports and the report."""

from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from synthvlm_dagster.dataset.checks import CHECKS_OF_PAIRS
from synthvlm_dagster.dataset.exports.export import Export
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.dataset.report.cost import GENERATION, SCORING
from synthvlm_dagster.dataset.settings import (
    CARD_CODE,
    REPORT_CODE,
    SELECTION_CODE,
    card_settings,
    report_settings,
    selection_settings,
)
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.markdown import shortened
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.launchpad import OneRun, selection_of_one_run
from synthvlm_dagster.orchestration.metadata import markdown, rows_metadata, table_metadata
from synthvlm_dagster.orchestration.shards import recorded_work
from synthvlm_dagster.scores.made_from import REFERENCES_CODE, references_settings
from synthvlm_dagster.scores.naming import scorer_name
from synthvlm_dagster.store.failed_checks import await_verdicts, why_unchecked

if TYPE_CHECKING:
    import polars as pl

_MEASURES = ("clip_score", "ssim", "weighted_score")
_PAIRS_SHOWN = 8


def dataset_assets(dataset: Dataset) -> list[dg.AssetsDefinition]:
    """The assets of the last stage: those that the recipe has."""
    recipe = dataset.recipe
    assets = [selected_pairs(dataset), dataset_card(dataset), quality_report(dataset)]
    assets += [export_of_pairs(dataset, export) for export in all_exports() if export.wanted(recipe)]
    return [*assets, reference_scores(dataset)] if recipe.comparisons else assets


def selected_pairs(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `selected_pairs` of a dataset."""
    one_run = selection_of_one_run(dataset.recipe)

    @dg.asset(
        key=dataset.key("selected_pairs"),
        deps=[dataset.key("planned_attempts"), *_last_scores(dataset)],
        **dataset.of_stage("dataset"),
        kinds={"polars", "parquet"},
        code_version=f"{SELECTION_CODE}-{fingerprint(selection_settings(dataset.recipe))}",
    )
    def selected_pairs(
        context: dg.AssetExecutionContext,
        config: one_run,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult:
        """The pairs that are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3).

        One row is one selected image with its caption, scores and rank. What an audit sets aside stands with its reason
        in `dataset/set_aside`.
        """
        from synthvlm_dagster.dataset.coverage import complete_scores, score_coverage
        from synthvlm_dagster.dataset.made_from import Origins
        from synthvlm_dagster.dataset.pairs import SELECTED, SET_ASIDE
        from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS, competing_images, select_with_reasons
        from synthvlm_dagster.dataset.set_aside import set_aside_counts
        from synthvlm_dagster.dataset.withdrawn import delete_withdrawn
        from synthvlm_dagster.scores.embeddings import embeddings_by_shard
        from synthvlm_dagster.scores.merit import weighted_score

        recipe, storage = dataset.recipe, dataset.storage
        recipe, one_run, set_for_this_run = cast("OneRun", config).apply(recipe, context.log)
        record = Origins(recipe, storage, one_run).of("selected_pairs")
        coverage = score_coverage(recipe, storage)
        scores = complete_scores(recipe, storage, coverage)
        embeddings = embeddings_by_shard(recipe, storage, scores)
        chosen = select_with_reasons(scores, recipe.selection, recipe.seed, embeddings)
        await_verdicts(storage, SELECTED, *CHECKS_OF_PAIRS)
        storage.write_table(SET_ASIDE, chosen.set_aside, record)
        storage.write_table(SELECTED, chosen.pairs, record)
        delete_withdrawn(recipe, storage, context.log.info)
        selected = storage.scan(SELECTED).collect()
        groups = {
            "generated": scores,
            "best_attempts": competing_images(scores, recipe.selection, recipe.seed),
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
                **set_for_this_run,
                "strategy": recipe.selection.strategy,
                **{f"set_aside_by_{reason}": count for reason, count in set_aside_counts(recipe, storage).items()},
                "images_without_score": coverage.lacking,
                "share_without_score": round(coverage.missing_share, 6),
                **{f"images_{name}": frame.height for name, frame in measures.items()},
                **_means(measures),
                **_histograms(measures),
                "highest": _shown(selected.head(_PAIRS_SHOWN)),
                "lowest": _shown(selected.tail(_PAIRS_SHOWN)),
            },
        )

    return selected_pairs


def export_of_pairs(dataset: Dataset, export: Export) -> dg.AssetsDefinition:
    """The asset of one export of a dataset."""

    @dg.asset(
        key=dataset.key(export.asset),
        deps=[dataset.key(name) for name in export.made_of],
        description=export.description,
        **dataset.of_stage("dataset"),
        kinds=set(export.kinds),
        code_version=f"{export.code}-{fingerprint(export.settings(dataset.recipe))}",
    )
    def export_of_pairs(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from synthvlm_dagster.dataset.made_from import Origins, recorded_pairs

        recipe, storage = dataset.recipe, dataset.storage
        if why_unchecked(storage, export.folder) and Origins(recipe, storage).why_to_be_written(export.asset) is None:
            context.log.info(f"{storage.url(export.folder)} stands, and is checked now")
            return dg.MaterializeResult(
                data_version=dg.DataVersion(storage.recorded_version(export.folder)),
                metadata={"dagster/uri": storage.url(export.folder)},
            )
        await_verdicts(storage, export.folder, export.check)
        with recorded_pairs(export.asset, recipe, storage, context.log.warning):
            written = export.write(recipe, storage, context.log.info)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(storage.recorded_version(export.folder)),
            metadata={
                **rows_metadata(storage, export.folder, row_count=written.pairs, columns=written.columns),
                **written.counts,
                "megabytes": round(written.bytes / 1e6, 3),
                "sample": _sample(written.sample),
            },
        )

    return export_of_pairs


def reference_scores(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `reference_scores` of a dataset whose recipe has comparisons."""

    @dg.asset(
        key=dataset.key("reference_scores"),
        deps=[dataset.key("selected_pairs")],
        pool="gpu",
        **dataset.of_stage("dataset"),
        kinds={"pytorch", "parquet"},
        code_version=f"{REFERENCES_CODE}-{fingerprint(references_settings(dataset.recipe))}",
    )
    def reference_scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """CLIPScore and SSIM of other datasets, to compare the selected pairs with (SynthVLM §3.3).

        One row is one dataset of the recipe's `comparisons`, of which a seeded sample is measured. What was measured
        before is not measured again.
        """
        from synthvlm_dagster.dataset.made_from import Origins
        from synthvlm_dagster.dataset.made_with import recipe_as_made
        from synthvlm_dagster.scores.references import SUMMARY as REFERENCES
        from synthvlm_dagster.scores.references import SUMMARY_COLUMNS as REFERENCES_COLUMNS
        from synthvlm_dagster.scores.references import measure_references

        recipe, storage = dataset.recipe, dataset.storage
        record = Origins(recipe, storage).of("reference_scores")
        summary = measure_references(recipe_as_made(recipe, storage), storage, record, on_progress=context.log.info)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(storage.version(REFERENCES)),
            metadata={
                **table_metadata(
                    storage,
                    REFERENCES,
                    row_count=summary.height,
                    schema=summary.schema,
                    descriptions=REFERENCES_COLUMNS,
                ),
                "datasets": dg.MetadataValue.table([dg.TableRecord(row) for row in summary.to_dicts()]),
            },
        )

    return reference_scores


def dataset_card(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `dataset_card` of a dataset."""

    @dg.asset(
        key=dataset.key("dataset_card"),
        deps=[dataset.key(name) for name in ("rejected_captions", "image_scores", "selected_pairs")],
        **dataset.of_stage("dataset"),
        kinds={"markdown", "file"},
        code_version=f"{CARD_CODE}-{fingerprint(card_settings(dataset.recipe))}",
    )
    def dataset_card() -> dg.MaterializeResult:
        """What the dataset is, how it was made and from what, its licences and limits, as a page of Markdown."""
        from synthvlm_dagster.dataset.exports.card import CARD, CARD_FOLDER, write_card
        from synthvlm_dagster.dataset.made_from import recorded_pairs

        recipe, storage = dataset.recipe, dataset.storage
        with recorded_pairs("dataset_card", recipe, storage):
            card = write_card(recipe, storage)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(storage.recorded_version(CARD_FOLDER)),
            metadata={
                "dagster/uri": storage.url(CARD),
                "pairs": card.pairs,
                "card": markdown(card.text),
            },
        )

    return dataset_card


def quality_report(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `quality_report` of a dataset."""

    @dg.asset(
        key=dataset.key("quality_report"),
        deps=[
            dataset.key(name)
            for name in (
                "rejected_captions",
                "image_scores",
                "selected_pairs",
                *(["reference_scores"] if dataset.recipe.comparisons else []),
            )
        ],
        **dataset.of_stage("dataset"),
        kinds={"html", "file"},
        code_version=f"{REPORT_CODE}-{fingerprint(report_settings(dataset.recipe))}",
    )
    def quality_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """One web page to look at: what each step kept, the scores of generated and selected images, and examples."""
        from synthvlm_dagster.dataset.made_from import recorded_pairs
        from synthvlm_dagster.dataset.report.page import FOLDER as REPORT_FOLDER
        from synthvlm_dagster.dataset.report.page import preview, write_report

        recipe, storage = dataset.recipe, dataset.storage
        generation = recorded_work(
            context.instance, dataset.key("generated_images"), "images_made_now", generator=generator_name(recipe)
        )
        scoring = recorded_work(
            context.instance, dataset.key("image_scores"), "images_scored_now", scorer=scorer_name(recipe)
        )
        with recorded_pairs("quality_report", recipe, storage, context.log.warning):
            report = write_report(recipe, storage, {GENERATION: generation, SCORING: scoring})
        return dg.MaterializeResult(
            data_version=dg.DataVersion(storage.recorded_version(REPORT_FOLDER)),
            metadata={
                "dagster/uri": report.location,
                "page": dg.MetadataValue.path(report.location),
                "kilobytes": round(report.bytes / 1e3),
                "preview": dg.MetadataValue.md(preview(recipe, storage, report.facts)),
            },
        )

    return quality_report


def _last_scores(dataset: Dataset) -> list[dg.AssetKey]:
    """With an adaptive recipe the shards' last scores come with their further attempts."""
    names = ("image_scores", "further_attempts") if dataset.recipe.attempts.adaptive else ("image_scores",)
    return [dataset.key(name) for name in names]


def _means(measures: "dict[str, pl.DataFrame]") -> dict[str, Any]:
    return {f"mean_{column}_{name}": frame[column].mean() for column in _MEASURES for name, frame in measures.items()}


def _histograms(measures: "dict[str, pl.DataFrame]") -> dict[str, Any]:
    from synthvlm_dagster.text_histogram import text_histogram

    shown = ("generated", "selected")
    return {
        f"{column}_histogram": markdown(text_histogram({name: measures[name][column] for name in shown}))
        for column in _MEASURES
    }


def _shown(pairs: "pl.DataFrame") -> dg.TableMetadataValue:
    import polars as pl

    rounded = pairs.select("rank", "text", pl.col(*_MEASURES).round(4), "image_id")
    return dg.MetadataValue.table(
        [dg.TableRecord({**row, "text": shortened(row["text"])}) for row in rounded.to_dicts()]
    )


def _sample(example: dict[str, Any] | None) -> dg.JsonMetadataValue:
    """The first entry of an export, without the end of long texts: Dagster keeps it in its event database."""
    return dg.MetadataValue.json(_with_short_texts(example or {}))


def _with_short_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_short_texts(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_short_texts(inner) for inner in value]
    return shortened(value) if isinstance(value, str) else value
