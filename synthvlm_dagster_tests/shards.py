"""Shards as an asset makes, measures and checks them: read first, then handed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.attempts.state import State, planned_images
from synthvlm_dagster.images import inspection, shard
from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.generator import Generator
from synthvlm_dagster.operations.sharded_assets import sharded_assets
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores import embeddings
from synthvlm_dagster.scores import inspection as scores_inspection
from synthvlm_dagster.scores import shard as scoring
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.judge import JudgeModel
from synthvlm_dagster.store.storage import Storage


def generate_shard(
    recipe: Recipe,
    storage: Storage,
    key: str,
    generator: Generator,
    on_progress: Callable[[str], None] = lambda _: None,
    batches: Batches | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> shard.ShardSummary:
    images = planned_images(recipe, storage, key, on_warning or on_progress)
    return shard.generate_shard(images, generator, on_progress, batches, on_warning)


def shard_progress(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    return planned_images(recipe, storage).progress()


def inspect_shard(recipe: Recipe, storage: Storage, key: str, sample: int = 32) -> inspection.Inspection:
    return inspection.inspect_shard(planned_images(recipe, storage, key), sample)


def score_shard(
    recipe: Recipe,
    storage: Storage,
    key: str,
    scorer: ClipScorer,
    on_progress: Callable[[str], None] = lambda _: None,
    judges: Mapping[str, JudgeModel] | None = None,
) -> scoring.ShardScoring:
    images, measured = ShardReader(recipe, lambda: storage).scores(key, on_progress)
    return scoring.score_shard(images, measured, scorer, on_progress, judges)


def inspect_scores(recipe: Recipe, storage: Storage, key: str) -> scores_inspection.ShardFaults:
    return scores_inspection.inspect_scores(*ShardReader(recipe, lambda: storage).scores(key))


def missing_scores(recipe: Recipe, storage: Storage, key: str) -> pl.DataFrame:
    images, measured = ShardReader(recipe, lambda: storage).scores(key)
    return measured.missing(images)


def unmeasured_shards(recipe: Recipe, storage: Storage) -> set[str]:
    return State.read(recipe, storage).shards_to_score()


def read_embeddings(recipe: Recipe, storage: Storage, key: str) -> tuple[pl.Series, np.ndarray]:
    scored = read_scores(recipe, storage, key).select("image_id").collect()["image_id"]
    return embeddings.read_embeddings(recipe, storage, key, scored)


def shards_with_work(asset: str, recipe: Recipe, storage: Storage) -> list[str]:
    """What `plan` and `run` say of one of the assets that are made shard by shard."""
    [found] = [each for each in sharded_assets(Dataset(recipe)) if each.name == asset]
    return found.shards_with_work(State.read(recipe, storage))
