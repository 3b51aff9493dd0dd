"""What must hold before GPU time goes into scores."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.held_checks import held
from synthvlm_dagster.orchestration.shards import worst_of

if TYPE_CHECKING:
    from synthvlm_dagster.images.state import PlannedImages

SOUND_IMAGES = "sound_images"


def image_checks(dataset: Dataset, read: "Callable[[str], PlannedImages]") -> list[dg.AssetChecksDefinition]:
    """The checks of the second stage; `read` gives what is planned and present of a shard."""
    return [something_to_make(dataset), sound_images(dataset, read)]


def something_to_make(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The check `something_to_make` of a dataset."""

    @dg.asset_check(asset=dataset.key("planned_attempts"), blocking=True)
    def something_to_make() -> dg.AssetCheckResult:
        """At least one image is planned: some caption survived curation."""
        from synthvlm_dagster.images.plan import PLAN_TABLE

        storage = dataset.storage

        def evaluate() -> dg.AssetCheckResult:
            images = storage.scan(PLAN_TABLE).select("caption_id").collect().height
            return dg.AssetCheckResult(
                passed=images > 0,
                description=f"{images} images planned"
                if images
                else "No caption is left: look at rejected_captions for the rule that drops most, and loosen it.",
                metadata={"planned_images": images},
            )

        return held(storage, PLAN_TABLE, "something_to_make", evaluate)

    return something_to_make


def sound_images(dataset: Dataset, read: "Callable[[str], PlannedImages]") -> dg.AssetChecksDefinition:
    """The check `sound_images` of a dataset."""

    @dg.asset_check(asset=dataset.key("generated_images"), partitions_def=dataset.shards, blocking=True)
    def sound_images(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Every planned image of the shard is there, or recorded as failed; those looked at open, not all flat."""
        return worst_of([evaluate_images(dataset, read(shard)) for shard in context.partition_keys])

    return sound_images


def evaluate_images(dataset: Dataset, images: "PlannedImages") -> dg.AssetCheckEvaluation:
    """Evaluation of `sound_images` for one shard; a few flat or failed images only warn.

    The verdict holds until it is asked again. Files of images that do not open are set aside, to be made again.
    """
    return held(images.storage, images.table, SOUND_IMAGES, lambda: _evaluation(dataset, images))


def _evaluation(dataset: Dataset, images: "PlannedImages") -> dg.AssetCheckEvaluation:
    from synthvlm_dagster.images.damage import set_damage_aside
    from synthvlm_dagster.images.inspection import inspect_shard

    found = inspect_shard(images)
    if found.undecodable and images.shard:
        set_damage_aside(images.recipe, images.storage, images.shard, found.undecodable)
    failed = sum(found.failed.values())
    reasons = ", ".join(f"{count} {problem}" for problem, count in found.failed.items())
    all_failed = failed > 0 and found.sampled == 0
    all_flat = bool(found.flat) and len(found.flat) == found.sampled
    problems = [
        sentence
        for count, sentence in (
            (found.missing, f"{found.missing} images are missing: materialize the shard again."),
            (failed, f"{failed} images could not be made ({reasons}); more generation.retries try other seeds."),
            (len(found.undecodable), f"Cannot be opened: {', '.join(found.undecodable)}."),
            (len(found.flat), f"Flat, one colour all over: {', '.join(found.flat)}."),
        )
        if count
    ]
    return dg.AssetCheckEvaluation(
        asset_key=dataset.key("generated_images"),
        check_name=SOUND_IMAGES,
        partition=images.shard,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR
        if found.missing or found.undecodable or all_flat or all_failed
        else dg.AssetCheckSeverity.WARN,
        description=f"Shard {images.shard}: " + (" ".join(problems) or f"complete; {found.sampled} images looked at"),
        metadata={
            "missing_images": found.missing,
            "failed_images": failed,
            "images_looked_at": found.sampled,
            "undecodable_images": len(found.undecodable),
            "flat_images": len(found.flat),
        },
        blocking=True,
    )
