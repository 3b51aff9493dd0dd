"""What must hold of the scores before pairs are selected by them."""

import dagster as dg

from synthvlm_dagster.orchestration.shards import shards, worst_of
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.inspection import inspect_scores
from synthvlm_dagster.store.storage import Storage

_NAMED = 5


@dg.asset_check(asset="image_scores", partitions_def=shards, blocking=True)
def sound_scores(
    context: dg.AssetCheckExecutionContext, recipe: dg.ResourceParam[Recipe], storage: dg.ResourceParam[Storage]
) -> dg.AssetCheckResult:
    """Every image of the shard has its scores, by the recipe's judges too; all lie in their ranges, none is NaN.

    CLIPScores lie in [0, 1], SSIMs in [-1, 1]; probabilities of judges in [0, 1], their cosines in [-1, 1]. The SSIM of
    two images is measured again by scikit-image; a difference of more than 1e-6 warns.
    """
    return worst_of([evaluate_scores(recipe, storage, shard) for shard in context.partition_keys])


def evaluate_scores(recipe: Recipe, storage: Storage, shard: str) -> dg.AssetCheckEvaluation:
    """Evaluation of `sound_scores` for one shard."""
    faults = inspect_scores(recipe, storage, shard)
    named = ", ".join(faults.impossible[:_NAMED]) + (", …" if len(faults.impossible) > _NAMED else "")
    problems = [
        sentence
        for count, sentence in (
            (faults.missing, f"{faults.missing} images lack a score: materialize the shard again."),
            (
                len(faults.impossible),
                f"{len(faults.impossible)} images have impossible scores (NaN or out of range): {named}.",
            ),
            (len(faults.doubtful), f"scikit-image measures another SSIM of {', '.join(faults.doubtful)}."),
        )
        if count
    ]
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("image_scores"),
        check_name="sound_scores",
        partition=shard,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR if faults.missing or faults.impossible else dg.AssetCheckSeverity.WARN,
        description=f"Shard {shard}: " + (" ".join(problems) or f"{faults.scored} images, all scored"),
        metadata={
            "images_scored": faults.scored,
            "images_without_score": faults.missing,
            "impossible_scores": len(faults.impossible),
            "ssims_that_scikit_image_doubts": len(faults.doubtful),
        },
        blocking=True,
    )
