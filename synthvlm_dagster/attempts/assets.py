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
from synthvlm_dagster.orchestration.metadata import table_metadata
from synthvlm_dagster.orchestration.shards import (
    Event,
    RunContext,
    ShardWork,
    materialize_each_shard,
    shard_materialization,
    shards,
)
from synthvlm_dagster.recipe import Recipe, active_recipe
from synthvlm_dagster.scores.assets import image_scores, score_work
from synthvlm_dagster.scores.checks import evaluate_scores
from synthvlm_dagster.store.chunks import set_damaged_aside
from synthvlm_dagster.store.storage import Storage


@dg.asset(  # type: ignore[call-overload]  # its stub refuses dg.Nothing, which keeps IO managers out
    deps=[image_scores],
    partitions_def=shards,
    # Another number than the scores' policy; see there.
    backfill_policy=dg.BackfillPolicy.multi_run(active_recipe().shards_per_run),
    output_required=False,
    dagster_type=dg.Nothing,
    pool="gpu",
    group_name="scores",
    kinds={"pytorch", "parquet"},
    owners=["team:data"],
    code_version=f"1-{fingerprint(active_recipe().attempts)}",
)
def further_attempts(
    context: dg.AssetExecutionContext, recipe: dg.ResourceParam[Recipe], storage: dg.ResourceParam[Storage]
) -> Iterator[Any]:
    """Another image for each caption whose best one is still below the recipe's bar: planned, made and measured.

    One row is one image that a score asked for. Goes on, round after round, until no caption of the shard wants another
    or may have one. The images and scores are rows of `generated_images` and `image_scores` like all others, and each
    round is recorded there. The models are loaded once per run, and not at all when no caption wants an image.
    """
    yield from materialize_each_shard(context, further_work(context, recipe, storage))


def further_work(context: RunContext, recipe: Recipe, storage: Storage) -> ShardWork:
    """How shards of `further_attempts` are made, round after round, with the same models for all of them.

    Raises:
        RecipeError: the model's licence has to be accepted first, or its images cannot be signed.
    """
    recipe = recipe_of_plan(recipe, storage)
    images_of_run = image_work(recipe, storage, context.log)
    scores_of_run = score_work(recipe, storage, context.log)

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
            yield shard_materialization(context, generated_images, shard, *images_of_run.make(shard))
            yield evaluate_images(recipe, storage, shard)
            yield shard_materialization(context, image_scores, shard, *scores_of_run.make(shard))
            yield evaluate_scores(recipe, storage, shard)

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
