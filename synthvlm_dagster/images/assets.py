"""What Dagster sees of the second stage: the plan, and each shard's images."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from synthvlm_dagster.captions.tables import CURATED
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.checks import SOUND_IMAGES, evaluate_images
from synthvlm_dagster.images.licences import check_licence
from synthvlm_dagster.images.made_from import PLAN_CODE, images_of_shard_version, plan_made_from, plan_settings
from synthvlm_dagster.images.naming import generator_version
from synthvlm_dagster.models.held import HeldModels
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.launchpad import OneRun, attempts_of_one_run
from synthvlm_dagster.orchestration.metadata import table_metadata
from synthvlm_dagster.orchestration.shards import Made, ShardWork, making, materialize_each_shard
from synthvlm_dagster.store.failed_checks import await_verdicts

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.images.generator import Generator
    from synthvlm_dagster.images.shard import ShardSummary
    from synthvlm_dagster.images.state import PlannedImages

_PICTURES_ON_A_CONTACT_SHEET = 16
_GIB = 1 << 30

ReadImages = Callable[[str, Callable[[str], None] | None], "PlannedImages"]
"""Gives what is planned and present of a shard; sets damaged files aside, and tells it, where the second is given."""


def planned_attempts(dataset: Dataset) -> dg.AssetsDefinition:
    """The asset `planned_attempts` of a dataset."""
    one_run = attempts_of_one_run(dataset.recipe)

    @dg.asset(
        key=dataset.key("planned_attempts"),
        deps=[dataset.key("curated_captions")],
        **dataset.of_stage("images"),
        kinds={"polars", "parquet"},
        code_version=f"{PLAN_CODE}-{fingerprint(plan_settings(dataset.recipe))}",
    )
    def planned_attempts(
        context: dg.AssetExecutionContext,
        config: one_run,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult:
        """Which images to make: the recipe's attempts for every curated caption, or for a stable choice of them.

        One row is one image to make.
        """
        from synthvlm_dagster.images.departures import departures
        from synthvlm_dagster.images.plan import PLAN_DESCRIPTIONS, PLAN_TABLE, plan_attempts, write_plan

        recipe, storage = dataset.recipe, dataset.storage
        recipe, one_run, set_for_this_run = cast("OneRun", config).apply(recipe, context.log)
        record = plan_made_from(recipe, storage.version(CURATED), one_run)
        plan = plan_attempts(storage.scan(CURATED), recipe.attempts, recipe.seed)
        left = departures(recipe, storage, plan)
        write_plan(storage, plan, record)
        if str(left):
            context.log.info(str(left))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(storage.version(PLAN_TABLE)),
            metadata={
                **table_metadata(
                    storage, PLAN_TABLE, row_count=plan.height, schema=plan.schema, descriptions=PLAN_DESCRIPTIONS
                ),
                **set_for_this_run,
                "captions_left_since_the_last_plan": left.gone + left.rejected + left.unplanned,
                "captions": plan["caption_id"].n_unique(),
                "shards_with_images": plan["shard"].n_unique(),
            },
        )

    return planned_attempts


def generated_images(dataset: Dataset, read: ReadImages) -> dg.AssetsDefinition:
    """The asset `generated_images` of a dataset.

    Args:
        dataset: whose asset it is.
        read: knows what is planned; what has been added to the plan is decided in later stages.
    """

    @dg.asset(
        key=dataset.key("generated_images"),
        deps=[dataset.key("planned_attempts")],
        partitions_def=dataset.shards,
        backfill_policy=dg.BackfillPolicy.multi_run(dataset.recipe.shards_per_run),
        output_required=False,
        dagster_type=dg.Nothing,
        pool="gpu",
        **dataset.of_stage("images"),
        kinds={"pytorch", "parquet"},
        code_version=f"1-{generator_version(dataset.recipe)}",
    )
    def generated_images(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Pictures of the planned captions, drawn by the recipe's diffusion model (SynthVLM §3.2).

        One row is one image of the shard. The model is loaded once per run, and not at all when nothing is missing.
        Images that could not be made with any seed that the recipe allows are in `failed_images`, with the reason.
        """
        yield from materialize_each_shard(context, image_work(dataset, read, context.log))

    return generated_images  # type: ignore[return-value]  # the stub refuses dg.Nothing, which keeps IO managers out


def image_work(dataset: Dataset, read: ReadImages, log: dg.DagsterLogManager) -> ShardWork:
    """How shards of `generated_images` are made and checked, with one model for all of them."""
    make = image_maker(dataset, log)
    return ShardWork(making(lambda shard: make(read(shard, log.warning))))


def image_maker(dataset: Dataset, log: dg.DagsterLogManager) -> "Callable[[PlannedImages], Made]":
    """What makes the missing images of a shard, read with `on_damage`, with one model for all shards.

    Raises:
        RecipeError: the model's licence has to be accepted first, or its images cannot be signed.
    """
    from synthvlm_dagster.images.content_credentials import check_content_credentials
    from synthvlm_dagster.images.generators import DiffusersGenerator

    recipe = dataset.recipe
    check_licence(recipe.generation)
    check_content_credentials(recipe.generation)
    generator = DiffusersGenerator(recipe.generation)
    batches, held = Batches(recipe.generation), HeldModels()
    return lambda images: make_images(dataset, images, generator, batches, held, log)


def make_images(
    dataset: Dataset,
    images: "PlannedImages",
    generator: "Generator",
    batches: Batches,
    held: HeldModels,
    log: dg.DagsterLogManager,
) -> Made:
    """Make the images of a shard that are missing, and describe the shard of `generated_images`."""
    from synthvlm_dagster.images.shard import generate_shard
    from synthvlm_dagster.images.table import IMAGE_DESCRIPTIONS, IMAGE_SCHEMA

    recipe = images.recipe
    if images.missing.height:
        await_verdicts(images.storage, images.table, SOUND_IMAGES)
    summary = generate_shard(images, generator, log.info, batches, log.warning, held)
    ids = images.present["image_id"]
    metadata = {
        **table_metadata(
            images.storage, summary.table, row_count=len(ids), schema=IMAGE_SCHEMA, descriptions=IMAGE_DESCRIPTIONS
        ),
        "generator": images.generator,
        "batch_size": batches.size,
        **_work_done(summary, recipe.generation.price_per_gpu_hour),
        **_failures(images),
        "contact_sheet": dg.MetadataValue.md(_contact_sheet(images.scan())),
    }
    return Made(images_of_shard_version(images.generator, ids), metadata, lambda: evaluate_images(dataset, images))


def _work_done(summary: "ShardSummary", price_per_gpu_hour: float | None) -> dict[str, Any]:
    """What this materialization made, and what it took."""
    work: dict[str, Any] = {
        "images_made_now": summary.made,
        # A shard that was complete has no speed: a chart would show it as standing still.
        **({"images_per_second": round(summary.images_per_second, 3)} if summary.made else {}),
        "seconds": round(summary.seconds, 1),
        "model_load_seconds": round(summary.load_seconds, 1),
        "pictures_drawn_again": summary.retried,
        "chunks_quarantined": len(summary.quarantined),
    }
    seconds = summary.seconds + summary.load_seconds
    if summary.peak_memory is not None:
        work |= {"peak_device_memory_gib": round(summary.peak_memory / _GIB, 2), "gpu_seconds": round(seconds, 1)}
    if price_per_gpu_hour is not None:
        work["cost_dollars"] = round(seconds / 3600 * price_per_gpu_hour, 4)
    return work


def _failures(images: "PlannedImages") -> dict[str, Any]:
    """How many of the shard's images could not be made, and why."""
    problems = images.failed["problem"].value_counts(sort=True)
    return {"failed_images": int(problems["count"].sum()), "failures_by_reason": dict(problems.iter_rows())}


def _contact_sheet(images: "pl.LazyFrame") -> str:
    import polars as pl

    from synthvlm_dagster.images.contact_sheet import contact_sheet

    one_per_caption = images.filter(pl.col("attempt") == 0)
    shown = one_per_caption.select("image", "text").head(_PICTURES_ON_A_CONTACT_SHEET).collect()
    return contact_sheet([(image["bytes"], text) for image, text in shown.iter_rows()])
