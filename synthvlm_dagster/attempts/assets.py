"""What Dagster sees of adaptive best-of-N: the attempts that the scores ask for, made and measured."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from synthvlm_dagster.attempts.further_attempts import (
    FURTHER_DESCRIPTIONS,
    FURTHER_SCHEMA,
    next_attempts,
    tried_images,
    waiting,
)
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.assets import generated_images, image_work
from synthvlm_dagster.images.checks import evaluate_images
from synthvlm_dagster.images.plan import (
    NIGHTS_ATTEMPTS,
    add_attempts,
    added_attempts,
    added_attempts_table,
    recipe_of_plan,
)
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.metadata import table_metadata
from synthvlm_dagster.orchestration.shards import (
    Event,
    RunContext,
    ShardWork,
    materialize_each_shard,
    shard_materialization,
)
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.scores.checks import evaluate_scores
from synthvlm_dagster.store.chunks import set_damaged_aside
from synthvlm_dagster.store.storage import Storage


def further_attempts(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `further_attempts` of a dataset."""

    @dg.asset(
        key=dataset.key("further_attempts"),
        deps=[dataset.key("image_scores")],
        partitions_def=dataset.shards,
        # Another number than the scores' policy; see there.
        backfill_policy=dg.BackfillPolicy.multi_run(dataset.recipe.shards_per_run),
        output_required=False,
        dagster_type=dg.Nothing,
        pool="gpu",
        **dataset.of_stage("scores"),
        kinds={"pytorch", "parquet"},
        code_version=f"1-{fingerprint(dataset.recipe.attempts)}",
    )
    def further_attempts(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Another image for each caption whose best one is still below the recipe's bar: planned, made and measured.

        One row is one image that a score asked for. Goes on, round after round, until no caption of the shard wants
        another or may have one. The images and scores are rows of `generated_images` and `image_scores` like all
        others, and each round is recorded there. The models are loaded once per run, and not at all when no caption
        wants an image.
        """
        yield from materialize_each_shard(context, further_work(context, dataset))

    return further_attempts  # type: ignore[return-value]  # the stub refuses dg.Nothing, which keeps IO managers out


def further_work(context: RunContext, dataset: Dataset) -> ShardWork:
    """How shards of `further_attempts` are made, round after round, with the same models for all of them.

    Raises:
        RecipeError: the model's licence has to be accepted first, or its images cannot be signed.
    """
    storage = dataset.storage
    recipe = recipe_of_plan(dataset.recipe, storage)
    images, scores = generated_images(dataset), image_scores(dataset)
    images_of_run = image_work(dataset, context.log)
    scores_of_run = score_work(dataset, context.log)

    def rounds(shard: str) -> Iterator[Event]:
        set_damaged_aside(storage, added_attempts_table(recipe, shard), context.log.warning)
        while True:
            tried = tried_images(recipe, storage, shard)
            if not tried.select(waiting().any()).item():
                wanted = next_attempts(tried, recipe.attempts)
                if wanted.is_empty():
                    return
                context.log.info(f"shard {shard}: {wanted.height} captions are below the bar and get another image")
                add_attempts(recipe, storage, shard, wanted)
            yield shard_materialization(context, images, shard, *images_of_run.make(shard))
            yield evaluate_images(dataset, shard)
            yield shard_materialization(context, scores, shard, *scores_of_run.make(shard))
            yield evaluate_scores(dataset, shard)

    return ShardWork(lambda shard: _describe(recipe, storage, shard), before=rounds)


def _describe(recipe: Recipe, storage: Storage, shard: str) -> tuple[str, dict[str, Any]]:
    """Data version and metadata of a shard's further attempts, all rounds together."""
    table = added_attempts_table(recipe, shard)
    tried = tried_images(recipe, storage, shard)
    best = tried.group_by("caption_id").agg(
        at_first=pl.col("weighted_score").filter(pl.col("attempt") < recipe.attempts.fewest).max(),
        at_last=pl.col("weighted_score").max(),
    )
    of_nights = added_attempts(recipe, storage, shard, NIGHTS_ATTEMPTS)
    asked_for = tried.join(of_nights, on=["caption_id", "attempt"], how="anti")
    further = asked_for.height - recipe.attempts.fewest * best.height
    return fingerprint(table, recipe.attempts, tried["image_id"].to_list()), {
        **table_metadata(storage, table, row_count=further, schema=FURTHER_SCHEMA, descriptions=FURTHER_DESCRIPTIONS),
        "captions": best.height,
        "captions_at_the_bar_at_first": int((best["at_first"] >= recipe.attempts.until).sum()),
        "captions_at_the_bar": int((best["at_last"] >= recipe.attempts.until).sum()),
        **{
            f"mean_best_score_{when}": mean
            for when in ("at_first", "at_last")
            if (mean := best[when].mean()) is not None
        },
    }
