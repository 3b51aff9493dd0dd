"""What must hold of the selected pairs before anything is made of them, and of what is made of them."""

import dagster as dg

from synthvlm_dagster.dataset.exports.export import Export
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.store.made_from import FOLDERS_RECORD

_MOST_DECODED = 1000
_NAMED = 10


def dataset_checks(dataset: Dataset) -> list[dg.AssetChecksDefinition]:
    """The checks of the last stage, of the exports that the recipe has."""
    wanted = [export for export in all_exports() if export.wanted(dataset.recipe)]
    return [
        exactly_k_unique_pairs(dataset),
        selected_images_open(dataset),
        every_image_is_scored(dataset),
        *(export_holds_the_selected_pairs(dataset, export) for export in wanted),
    ]


def exactly_k_unique_pairs(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `exactly_k_unique_pairs` of a dataset."""

    @dg.asset_check(asset=dataset.key("selected_pairs"), blocking=True)
    def exactly_k_unique_pairs() -> dg.AssetCheckResult:
        """As many pairs as the recipe asks for, each image and caption once, ranked without gaps."""
        from synthvlm_dagster.dataset.coverage import complete_scores
        from synthvlm_dagster.dataset.integrity import selection_faults
        from synthvlm_dagster.dataset.made_with import recipe_as_made
        from synthvlm_dagster.dataset.pairs import SELECTED
        from synthvlm_dagster.dataset.selection import selected_count

        recipe, storage = dataset.recipe, dataset.storage
        recipe = recipe_as_made(recipe, storage)
        selected = storage.scan(SELECTED).select("image_id", "caption_id", "rank").collect()
        captions = complete_scores(recipe, storage).select("caption_id").unique().collect().height
        count = selected_count(recipe.selection, captions)
        faults = selection_faults(selected, count)
        return dg.AssetCheckResult(
            passed=not faults,
            description="; ".join(faults) or f"{count} pairs of {captions} captions",
            metadata={"pairs": selected.height, "expected": count},
        )

    return exactly_k_unique_pairs


def selected_images_open(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `selected_images_open` of a dataset."""

    @dg.asset_check(asset=dataset.key("selected_pairs"), blocking=True)
    def selected_images_open() -> dg.AssetCheckResult:
        """Every selected image is in the store, and decodes (of more than 1,000 a seeded sample)."""
        from synthvlm_dagster.dataset.integrity import absent_images, unreadable_images
        from synthvlm_dagster.dataset.pairs import SELECTED

        recipe, storage = dataset.recipe, dataset.storage
        selected = storage.scan(SELECTED).select("image_id", "shard").collect()
        if absent := absent_images(recipe, storage, selected):
            return dg.AssetCheckResult(
                passed=False,
                description=f"{len(absent)} selected images are not in the store: {', '.join(absent[:_NAMED])}",
            )
        sample = selected.sample(min(selected.height, _MOST_DECODED), seed=recipe.seed % 2**32)
        unreadable = unreadable_images(recipe, storage, sample)
        listed = "; ".join(f"{image_id} {reason}" for image_id, reason in list(unreadable.items())[:_NAMED])
        return dg.AssetCheckResult(
            passed=not unreadable,
            description=f"{len(unreadable)} of {sample.height} images do not open: {listed}" if unreadable else None,
            metadata={"decoded": sample.height, "present": selected.height},
        )

    return selected_images_open


def every_image_is_scored(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `every_image_is_scored` of a dataset."""

    @dg.asset_check(asset=dataset.key("selected_pairs"))
    def every_image_is_scored() -> dg.AssetCheckResult:
        """No planned image was left out because it has no score yet; `selection.allow_missing` allows some."""
        from synthvlm_dagster.dataset.coverage import score_coverage

        recipe, storage = dataset.recipe, dataset.storage
        coverage = score_coverage(recipe, storage)
        return dg.AssetCheckResult(
            passed=coverage.lacking == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=str(coverage),
            metadata={"images_without_score": coverage.lacking, "share_without_score": coverage.missing_share},
        )

    return every_image_is_scored


def export_holds_the_selected_pairs(dataset: Dataset, export: Export) -> dg.AssetChecksDefinition:
    """The check of one export of a dataset."""

    @dg.asset_check(
        name=f"{export.name}_holds_the_selected_pairs",
        asset=dataset.key(export.asset),
        description=export.checked,
        blocking=True,
    )
    def export_holds_the_selected_pairs(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        verdict = export.verify(dataset.recipe, dataset.storage, context.log.info)
        if verdict.passed:
            return dg.AssetCheckResult(passed=True)
        # Without the record of what it was made from it is not up to date, so that the next run writes it again.
        dataset.storage.delete(f"{export.folder}/{FOLDERS_RECORD}")
        return dg.AssetCheckResult(
            passed=False,
            description=f"{verdict.in_words}. `synthvlm run`, or materializing {export.asset}, writes it again from "
            "the selected pairs",
        )

    return export_holds_the_selected_pairs
