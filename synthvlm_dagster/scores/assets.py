"""What Dagster sees of the third stage: the scores of each shard's images."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from synthvlm_dagster.models.held import HeldModels
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.metadata import markdown, table_metadata
from synthvlm_dagster.orchestration.shards import Made, ShardWork, making, materialize_each_shard
from synthvlm_dagster.scores.checks import SOUND_SCORES, evaluate_scores
from synthvlm_dagster.scores.made_from import scores_of_shard_version
from synthvlm_dagster.scores.naming import scorer_name, scoring_version
from synthvlm_dagster.store.failed_checks import await_verdicts

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.images.state import PlannedImages
    from synthvlm_dagster.scores.clip import ClipScorer
    from synthvlm_dagster.scores.judge import JudgeModel
    from synthvlm_dagster.scores.state import Measurements

ReadScores = Callable[[str, Callable[[str], None] | None], tuple["PlannedImages", "Measurements"]]
"""Gives what is planned, present and measured of a shard; sets damaged files of scores aside, and tells it, where the
second is given."""


def image_scores(dataset: Dataset, read: ReadScores) -> dg.AssetsDefinition:
    """The asset `image_scores` of a dataset.

    Args:
        dataset: whose asset it is.
        read: knows what is planned; see `generated_images`.
    """

    @dg.asset(
        key=dataset.key("image_scores"),
        deps=[dataset.key("generated_images")],
        partitions_def=dataset.shards,
        # Another number than the images' policy: with the same one, Dagster would put both assets into one run, and
        # skip this one wherever a shard of images failed.
        backfill_policy=dg.BackfillPolicy.multi_run(2 * dataset.recipe.shards_per_run),
        output_required=False,
        dagster_type=dg.Nothing,
        pool="gpu",
        **dataset.of_stage("scores"),
        kinds={"pytorch", "parquet"},
        code_version=f"1-{scoring_version(dataset.recipe)}",
    )
    def image_scores(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """How well each generated image shows its caption: CLIPScore and SSIM (SynthVLM §3.3).

        One row is one image of the shard; held-out judges of the recipe have a column each. The models are loaded once
        per run, and not at all when nothing is missing.
        """
        yield from materialize_each_shard(context, score_work(dataset, read, context.log))

    return image_scores  # type: ignore[return-value]  # the stub refuses dg.Nothing, which keeps IO managers out


def score_work(dataset: Dataset, read: ReadScores, log: dg.DagsterLogManager) -> ShardWork:
    """How shards of `image_scores` are measured and checked, with the same models for all of them."""
    score = image_scorer(dataset, log)
    return ShardWork(making(lambda shard: score(*read(shard, log.warning))))


def image_scorer(dataset: Dataset, log: dg.DagsterLogManager) -> "Callable[[PlannedImages, Measurements], Made]":
    """What measures the images of a shard that lack something, with the same models for all shards."""
    from synthvlm_dagster.scores.clip import ClipScorer
    from synthvlm_dagster.scores.judges import recipe_judges

    recipe = dataset.recipe
    scorer = ClipScorer(recipe.scoring.clip, recipe.scoring.device)
    judges, held = recipe_judges(recipe.scoring), HeldModels()
    return lambda images, measured: score_images(dataset, images, measured, scorer, judges, held, log)


def score_images(
    dataset: Dataset,
    images: "PlannedImages",
    measured: "Measurements",
    scorer: "ClipScorer",
    judges: "Mapping[str, JudgeModel]",
    held: HeldModels,
    log: dg.DagsterLogManager,
) -> Made:
    """Measure the images of a shard that have no score, and describe the shard of `image_scores`."""
    from synthvlm_dagster.scores.measuring import SCORES
    from synthvlm_dagster.scores.shard import score_shard
    from synthvlm_dagster.scores.table import SCORES_COLUMNS, scores_schema

    recipe = images.recipe
    if measured.unmeasured(images).height:
        await_verdicts(images.storage, measured.tables[SCORES], SOUND_SCORES)
    scoring = score_shard(images, measured, scorer, log.info, judges, held)
    columns = ("clip_score", "ssim", *recipe.scoring.judges.columns)
    scores = measured.scores(images)
    metadata = {
        **table_metadata(
            images.storage,
            measured.tables[SCORES],
            row_count=scores.height,
            schema=scores_schema(recipe),
            descriptions=SCORES_COLUMNS,
        ),
        "images_scored_now": scoring.measured,
        # A shard that was complete has no speed: a chart would show it as standing still.
        **({"images_per_second": round(scoring.images_per_second, 3)} if scoring.measured else {}),
        "seconds": round(scoring.seconds, 1),
        "scorer": scorer_name(recipe),
        **{name: value for column in columns for name, value in _described(scores, column).items()},
    }
    return Made(
        scores_of_shard_version(measured.tables, images.shard or "", scores["image_id"]),
        metadata,
        lambda: evaluate_scores(dataset, images, measured),
    )


def _described(scores: "pl.DataFrame", column: str) -> dict[str, Any]:
    from synthvlm_dagster.text_histogram import text_histogram

    values = scores[column].drop_nulls()
    histogram = {f"{column}_histogram": markdown(text_histogram({"images": values}))}
    if values.is_empty():
        return histogram
    figures = {"mean": values.mean(), "min": values.min(), "max": values.max()}
    return {**{f"{column}_{name}": value for name, value in figures.items()}, **histogram}
