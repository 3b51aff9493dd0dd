"""What must hold of the selected pairs before anything is made of them, and of what is made of them."""

import dagster as dg

from synthvlm_dagster.dataset.coverage import complete_scores, score_coverage
from synthvlm_dagster.dataset.exports.huggingface import verify_huggingface
from synthvlm_dagster.dataset.exports.llava import verify_llava
from synthvlm_dagster.dataset.exports.webdataset import verify_webdataset
from synthvlm_dagster.dataset.integrity import absent_images, selection_faults, unreadable_images
from synthvlm_dagster.dataset.made_with import recipe_as_made
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.selection import selected_count
from synthvlm_dagster.orchestration.dataset import Dataset

_MOST_DECODED = 1000
_NAMED = 10


def dataset_checks(dataset: Dataset) -> list[dg.AssetChecksDefinition]:
    """The checks of the last stage, of the exports that the recipe has."""
    exports = dataset.recipe.exports
    checks = [exactly_k_unique_pairs(dataset), selected_images_open(dataset), every_image_is_scored(dataset)]
    for settings, check in (
        (exports.llava, llava_holds_the_selected_pairs),
        (exports.webdataset, webdataset_holds_the_selected_pairs),
        (exports.huggingface, huggingface_holds_the_selected_pairs),
    ):
        if settings is not None:
            checks.append(check(dataset))
    return checks


def exactly_k_unique_pairs(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `exactly_k_unique_pairs` of a dataset."""

    @dg.asset_check(asset=dataset.key("selected_pairs"), blocking=True)
    def exactly_k_unique_pairs() -> dg.AssetCheckResult:
        """As many pairs as the recipe asks for, each image and caption once, ranked without gaps."""
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
        recipe, storage = dataset.recipe, dataset.storage
        coverage = score_coverage(recipe, storage)
        return dg.AssetCheckResult(
            passed=coverage.lacking == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=str(coverage),
            metadata={"images_without_score": coverage.lacking, "share_without_score": coverage.missing_share},
        )

    return every_image_is_scored


def llava_holds_the_selected_pairs(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `llava_holds_the_selected_pairs` of a dataset."""

    @dg.asset_check(asset=dataset.key("llava_dataset"))
    def llava_holds_the_selected_pairs() -> dg.AssetCheckResult:
        """LLaVA's JSON has exactly the selected pairs, in the form that its training reads, and every image decodes."""
        storage = dataset.storage
        verdict = verify_llava(storage)
        return dg.AssetCheckResult(passed=verdict.passed, description=_differences(vars(verdict)))

    return llava_holds_the_selected_pairs


def webdataset_holds_the_selected_pairs(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `webdataset_holds_the_selected_pairs` of a dataset."""

    @dg.asset_check(asset=dataset.key("webdataset"))
    def webdataset_holds_the_selected_pairs() -> dg.AssetCheckResult:
        """The tar files have image, caption and facts of every selected pair once and no more; every image decodes."""
        recipe, storage = dataset.recipe, dataset.storage
        verdict = verify_webdataset(recipe, storage)
        return dg.AssetCheckResult(passed=verdict.passed, description=_differences(vars(verdict)))

    return webdataset_holds_the_selected_pairs


def huggingface_holds_the_selected_pairs(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `huggingface_holds_the_selected_pairs` of a dataset."""

    @dg.asset_check(asset=dataset.key("huggingface_dataset"))
    def huggingface_holds_the_selected_pairs() -> dg.AssetCheckResult:
        """The parquet files have exactly the selected pairs, whose images decode, and README and Croissant."""
        storage = dataset.storage
        verdict = verify_huggingface(storage)
        return dg.AssetCheckResult(passed=verdict.passed, description=_differences(vars(verdict)))

    return huggingface_holds_the_selected_pairs


def _differences(found: dict[str, list[str]]) -> str | None:
    listed = [f"{len(names)} {fault}: {', '.join(names[:_NAMED])}" for fault, names in found.items() if names]
    return "; ".join(listed) or None
