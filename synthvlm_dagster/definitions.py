"""Everything Dagster sees of a recipe, in pipeline order: captions → images → scores → dataset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import dagster as dg

from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.captions.assets import caption_assets
from synthvlm_dagster.captions.checks import caption_checks
from synthvlm_dagster.dataset.assets import dataset_assets
from synthvlm_dagster.dataset.checks import dataset_checks
from synthvlm_dagster.images.assets import planned_attempts
from synthvlm_dagster.images.checks import image_checks
from synthvlm_dagster.operations.arrival.sensor import new_captions
from synthvlm_dagster.operations.automation import dataset_follows_scores, watched
from synthvlm_dagster.operations.names import REPAIR_JOB
from synthvlm_dagster.operations.notifications.failed_runs import failed_runs
from synthvlm_dagster.operations.refresh import REFRESH_JOB, refresh_dataset
from synthvlm_dagster.operations.regeneration.job import REGENERATE_JOB, regenerate_weak_pairs
from synthvlm_dagster.operations.repair.job import repair_shards
from synthvlm_dagster.operations.repair.sensor import repair_failed_shards
from synthvlm_dagster.operations.runs.executor import watched_in_process_executor
from synthvlm_dagster.operations.runs.sensors import dead_runs, lost_retries
from synthvlm_dagster.operations.schedules import schedules
from synthvlm_dagster.operations.sharded_assets import sharded_assets
from synthvlm_dagster.operations.terminal_log import terminal_log
from synthvlm_dagster.orchestration.code_references import linked_to_code
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.active import active_recipe
from synthvlm_dagster.scores.checks import score_checks


def build_definitions(recipe: Recipe, *, key_prefix: str | Sequence[str] | None = None) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of one recipe. Reads no file and loads no model.

    Args:
        recipe: what to build.
        key_prefix: what keys of assets and names begin with, so that several datasets can stand in one code location;
            None for the only one.

    Raises:
        RecipeError: the prefix is no name for Dagster.
    """
    dataset = Dataset(recipe, key_prefix)
    with warnings.catch_warnings():
        # Dagster itself passes the owners on, of sensors that have none.
        warnings.filterwarnings("ignore", message=".*`owners` of initializer `SensorDefin", category=dg.BetaWarning)
        return _definitions(dataset)


def _definitions(dataset: Dataset) -> dg.Definitions:
    read = ShardReader(dataset.recipe, lambda: dataset.storage)
    last_stage = watched(dataset_assets(dataset), dataset)
    assets = [
        *caption_assets(dataset),
        planned_attempts(dataset),
        *(asset.definition for asset in sharded_assets(dataset)),
        *last_stage,
    ]
    jobs = {
        REFRESH_JOB: refresh_dataset(dataset),
        REGENERATE_JOB: regenerate_weak_pairs(dataset),
        REPAIR_JOB: repair_shards(dataset),
    }
    keys = {key for asset in assets for key in asset.keys}
    return dg.Definitions(
        assets=linked_to_code(assets),
        asset_checks=[
            *caption_checks(dataset),
            *image_checks(dataset, read.images),
            *score_checks(dataset, read.scores),
            *dataset_checks(dataset),
        ],
        jobs=list(jobs.values()),
        schedules=schedules(dataset, jobs),
        sensors=[
            dataset_follows_scores(dataset, last_stage),
            dead_runs(dataset),
            failed_runs(dataset, keys, {job.name for job in jobs.values()}),
            lost_retries(dataset),
            new_captions(dataset, jobs[REFRESH_JOB]),
            repair_failed_shards(dataset, jobs[REPAIR_JOB]),
        ],
        executor=watched_in_process_executor,
        loggers={"console": terminal_log},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the active recipe; see `active_recipe`."""
    return build_definitions(active_recipe())
