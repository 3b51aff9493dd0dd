"""What must hold of the scores before pairs are selected by them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.held_checks import held
from synthvlm_dagster.orchestration.shards import worst_of

if TYPE_CHECKING:
    from synthvlm_dagster.images.state import PlannedImages
    from synthvlm_dagster.scores.state import Measurements

SOUND_SCORES = "sound_scores"
_NAMED = 5

_Read = Callable[[str], tuple["PlannedImages", "Measurements"]]


def score_checks(dataset: Dataset, read: _Read) -> list[dg.AssetChecksDefinition]:
    """The checks of the third stage; `read` gives what is planned, present and measured of a shard."""
    return [sound_scores(dataset, read)]


def sound_scores(dataset: Dataset, read: _Read) -> dg.AssetChecksDefinition:
    """The check `sound_scores` of a dataset."""

    @dg.asset_check(asset=dataset.key("image_scores"), partitions_def=dataset.shards, blocking=True)
    def sound_scores(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Every image of the shard has its scores, by the recipe's judges too; all lie in their ranges, none is NaN.

        CLIPScores lie in [0, 1], SSIMs in [-1, 1]; probabilities of judges in [0, 1], their cosines in [-1, 1]. The
        SSIM of two images is measured again by scikit-image; a difference of more than 1e-6 warns.
        """
        return worst_of([evaluate_scores(dataset, *read(shard)) for shard in context.partition_keys])

    return sound_scores


def evaluate_scores(dataset: Dataset, images: "PlannedImages", measured: "Measurements") -> dg.AssetCheckEvaluation:
    """Evaluation of `sound_scores` for one shard; the verdict holds until it is asked again."""
    from synthvlm_dagster.scores.measuring import SCORES

    return held(images.storage, measured.tables[SCORES], SOUND_SCORES, lambda: _evaluation(dataset, images, measured))


def _evaluation(dataset: Dataset, images: "PlannedImages", measured: "Measurements") -> dg.AssetCheckEvaluation:
    from synthvlm_dagster.images.naming import generator_name
    from synthvlm_dagster.scores.inspection import inspect_scores

    faults = inspect_scores(images, measured)
    scores = images.storage.url(f"scores/{generator_name(images.recipe)}")
    named = ", ".join(faults.impossible[:_NAMED]) + (", …" if len(faults.impossible) > _NAMED else "")
    problems = [
        sentence
        for count, sentence in (
            (faults.missing, f"{faults.missing} images lack a score: materialize the shard again."),
            (
                len(faults.impossible),
                (
                    f"{len(faults.impossible)} images have impossible scores (NaN or out of range): {named}. Delete "
                    f"the folders {images.shard} below {scores}, and all is measured again."
                ),
            ),
            (len(faults.doubtful), f"scikit-image measures another SSIM of {', '.join(faults.doubtful)}."),
        )
        if count
    ]
    return dg.AssetCheckEvaluation(
        asset_key=dataset.key("image_scores"),
        check_name=SOUND_SCORES,
        partition=images.shard,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR if faults.missing or faults.impossible else dg.AssetCheckSeverity.WARN,
        description=f"Shard {images.shard}: " + (" ".join(problems) or f"{faults.scored} images, all scored"),
        metadata={
            "images_scored": faults.scored,
            "images_without_score": faults.missing,
            "impossible_scores": len(faults.impossible),
            "ssims_that_scikit_image_doubts": len(faults.doubtful),
        },
        blocking=True,
    )
