"""What must hold of the selected pairs before anything is made of them, and of what is made of them."""

import dagster as dg

from synthvlm_dagster.dataset.exports.export import Export
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.held_checks import held

_MOST_DECODED = 1000
_NAMED = 10
_IMAGES_OPEN = "selected_images_open"
_K_UNIQUE_PAIRS = "exactly_k_unique_pairs"
CHECKS_OF_PAIRS = (_K_UNIQUE_PAIRS, _IMAGES_OPEN)
"""Those that block."""
_MADE_AGAIN = "`synthvlm run` makes them again"


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

        storage = dataset.storage

        def evaluate() -> dg.AssetCheckResult:
            recipe = recipe_as_made(dataset.recipe, storage)
            selected = storage.scan(SELECTED).select("image_id", "caption_id", "rank").collect()
            captions = complete_scores(recipe, storage).select("caption_id").unique().collect().height
            count = selected_count(recipe.selection, captions)
            faults = selection_faults(selected, count)
            return dg.AssetCheckResult(
                passed=not faults,
                description="; ".join(faults) or f"{count} pairs of {captions} captions",
                metadata={"pairs": selected.height, "expected": count},
            )

        return held(storage, SELECTED, _K_UNIQUE_PAIRS, evaluate)

    return exactly_k_unique_pairs


def selected_images_open(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `selected_images_open` of a dataset."""

    @dg.asset_check(asset=dataset.key("selected_pairs"), blocking=True)
    def selected_images_open(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Every selected image is in the store, and decodes (of more than 1,000 a seeded sample).

        The files of images that do not open are set aside, so that the next run makes them again.
        """
        from synthvlm_dagster.dataset.pairs import SELECTED

        return held(
            dataset.storage, SELECTED, _IMAGES_OPEN, lambda: _selected_images(dataset, _MOST_DECODED, context.log)
        )

    return selected_images_open


def _selected_images(dataset: Dataset, most: int | None, log: dg.DagsterLogManager) -> dg.AssetCheckResult:
    """Look for the selected images, and open at most so many; None: all."""
    from synthvlm_dagster.dataset.integrity import absent_images, set_unreadable_aside
    from synthvlm_dagster.dataset.pairs import SELECTED

    recipe, storage = dataset.recipe, dataset.storage
    selected = storage.scan(SELECTED).select("image_id", "shard").collect()
    if absent := absent_images(recipe, storage, selected):
        return dg.AssetCheckResult(
            passed=False,
            description=f"{len(absent)} selected images are not in the store: {', '.join(absent[:_NAMED])}. "
            f"{_MADE_AGAIN}",
        )
    count = selected.height if most is None else min(selected.height, most)
    sample = selected.sample(count, seed=recipe.seed % 2**32)
    unreadable = set_unreadable_aside(recipe, storage, sample, log.warning)
    listed = "; ".join(f"{image_id} {reason}" for image_id, reason in list(unreadable.items())[:_NAMED])
    return dg.AssetCheckResult(
        passed=not unreadable,
        description=f"{len(unreadable)} of {sample.height} images do not open: {listed}. {_MADE_AGAIN}"
        if unreadable
        else None,
        metadata={"decoded": sample.height, "present": selected.height},
    )


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
        name=export.check,
        asset=dataset.key(export.asset),
        description=export.checked,
        blocking=True,
    )
    def export_holds_the_selected_pairs(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from synthvlm_dagster.dataset.pairs import SELECTED

        storage = dataset.storage

        def evaluate() -> dg.AssetCheckResult:
            verdict = export.verify(dataset.recipe, storage, context.log.info)
            if not verdict.passed:
                # Where the store's own pictures do not open, or are gone, the next run makes them first.
                held(storage, SELECTED, _IMAGES_OPEN, lambda: _selected_images(dataset, None, context.log))
            return dg.AssetCheckResult(
                passed=verdict.passed,
                description=None
                if verdict.passed
                else f"{verdict.in_words}. `synthvlm run`, or materializing {export.asset}, writes it again from the "
                "selected pairs",
            )

        return held(storage, export.folder, export.check, evaluate)

    return export_holds_the_selected_pairs
