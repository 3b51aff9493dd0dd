"""What Dagster sees of adaptive best-of-N: the attempts that the scores ask for, made and measured."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.assets import generated_images, image_maker
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.metadata import table_metadata
from synthvlm_dagster.orchestration.shards import (
    Event,
    Made,
    RunContext,
    ShardWork,
    materialize_each_shard,
    shard_materialization,
)
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.scores.assets import image_scorer, image_scores
from synthvlm_dagster.scores.naming import scores_table

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.attempts.state import State


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
    read = ShardReader(dataset.recipe, lambda: dataset.storage)
    images, scores = generated_images(dataset, read.images), image_scores(dataset, read.scores)
    make, measure = image_maker(dataset, context.log), image_scorer(dataset, context.log)

    def rounds(shard: str) -> Generator[Event, None, Made]:
        state = read.state(shard)
        if state.waits():
            # Reads every file whole; only where something is to be made.
            state = read.state(shard, context.log.warning)
        while state.waits():
            context.log.info(f"shard {shard}: {state.waiting()} images that scores asked for are made and measured")
            for asset, made in ((images, make(state.images)), (scores, measure(state.images, state.measured))):
                yield shard_materialization(context, asset, shard, made)
                if made.check:
                    yield made.check()
            state.ask()
        return _describe(state, shard)

    return ShardWork(rounds, makes_inputs=True)


def _describe(state: "State", shard: str) -> Made:
    """A shard's further attempts, all rounds together."""
    import polars as pl

    from synthvlm_dagster.scores.table import SCORES_COLUMNS, scores_schema

    recipe, attempts, tried = state.images.recipe, state.attempts, state.tried()
    best = tried.group_by("caption_id").agg(
        at_first=pl.col("weighted_score").filter(pl.col("attempt") < attempts.fewest).max(),
        at_last=pl.col("weighted_score").max(),
    )
    table = scores_table(recipe, shard)
    metadata = {
        **table_metadata(
            state.images.storage,
            table,
            row_count=state.asked_for.height,
            schema=scores_schema(recipe),
            descriptions=SCORES_COLUMNS,
        ),
        "captions": best.height,
        "captions_at_the_bar_at_first": int((best["at_first"] >= attempts.until).sum()),
        "captions_at_the_bar": int((best["at_last"] >= attempts.until).sum()),
        **{
            f"mean_best_score_{when}": mean
            for when in ("at_first", "at_last")
            if (mean := best[when].mean()) is not None
        },
    }
    return Made(attempts_of_shard_version(recipe, shard, attempts, tried["image_id"]), metadata)


def attempts_of_shard_version(recipe: Recipe, shard: str, attempts: Attempts, image_ids: "pl.Series") -> str:
    """Version of a shard's further attempts, of which `image_ids` are planned with them."""
    return fingerprint(scores_table(recipe, shard), attempts, image_ids.sort().to_list())
