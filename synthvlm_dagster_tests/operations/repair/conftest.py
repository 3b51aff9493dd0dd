"""The partitioned assets on an instance and a store of their own: images of noise, scores by a tiny CLIP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from synthvlm_dagster.attempts.assets import further_attempts
from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.images.assets import generated_images
from synthvlm_dagster.images.checks import sound_images
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.operations.names import RANGE_END_TAG, RANGE_START_TAG
from synthvlm_dagster.operations.repair.broken import shard_states
from synthvlm_dagster.operations.repair.job import repair_shards
from synthvlm_dagster.operations.repair.sensor import repair_failed_shards
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.assets import image_scores
from synthvlm_dagster.scores.checks import sound_scores
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.noise import NoiseGenerator
from synthvlm_dagster_tests.pictures import captions_in_shards, plan

SHARDS = [f"{number:04d}" for number in range(4)]

Asset = Callable[..., dg.AssetsDefinition]
"""What makes an asset of a dataset; called as the asset."""


class Operated:
    """What a person or a daemon does, in this process.

    Attributes:
        generators: how many were set up, each of which would load a model.
    """

    def __init__(self, recipe: Recipe, instance: dg.DagsterInstance) -> None:
        self.recipe = recipe
        self.instance = instance
        self.generators = 0
        self.storage = Storage(recipe.storage)
        plan(self.storage, captions_in_shards(2 * len(SHARDS), SHARDS), attempts=1)

    @property
    def definitions(self) -> dg.Definitions:
        dataset = self.dataset
        read = ShardReader(self.recipe, lambda: dataset.storage)
        job = repair_shards(dataset)
        return dg.Definitions(
            assets=[
                generated_images(dataset, read.images),
                image_scores(dataset, read.scores),
                further_attempts(dataset),
            ],
            asset_checks=[sound_images(dataset, read.images), sound_scores(dataset, read.scores)],
            jobs=[job],
            sensors=[repair_failed_shards(dataset, job)],
            executor=dg.in_process_executor,
        )

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.recipe)

    def make(self, asset: Asset, first: str, last: str) -> dg.ExecuteInProcessResult:
        """One run over a range of shards, as a backfill launches it."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[self.key(asset)],
            tags={RANGE_START_TAG: first, RANGE_END_TAG: last},
            raise_on_error=False,
        )

    def repair(
        self, config: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """A run of the job `repair_shards`."""
        job = self.definitions.resolve_job_def("repair_shards")
        return job.execute_in_process(
            run_config={"ops": {"repair": {"config": config or {}}}},
            instance=self.instance,
            tags=tags,
            raise_on_error=False,
        )

    def key(self, asset: Asset) -> dg.AssetKey:
        return self.dataset.key(asset.__name__)

    def states(self, asset: Asset) -> dict[str, str]:
        """What the UI shows of the shards of an asset."""
        return dict(shard_states(self.instance, self.key(asset), self.dataset))

    def block(self, *shards: str, table: Callable[[Recipe, str], str] = images_table) -> Callable[[], None]:
        """Put a file where the folder of a table of each shard should be; returns what takes them away."""
        paths = [Path(self.storage.url(table(self.recipe, shard))) for shard in shards]
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a file where a folder should be")

        def unblock() -> None:
            for path in paths:
                path.unlink()

        return unblock


def named(states: Mapping[str, str], state: str) -> list[str]:
    """Shards in a state."""
    return sorted(shard for shard, found in states.items() if found == state)


def failure_of(result: dg.ExecuteInProcessResult) -> Any:
    """What a failed run's step says."""
    [failure] = [event for event in result.all_node_events if event.is_step_failure]
    return failure.step_failure_data


@pytest.fixture
def operated(
    tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operated]:
    scoring = {
        "clip": {"model": str(tiny_clip_folder), "pretrained": None},
        "ssim": {"reduced_size": 10},
        "device": "cpu",
    }
    recipe = tiny_recipe(generation={"image_format": "png"}, scoring=scoring, shards=len(SHARDS))
    with dg.DagsterInstance.ephemeral() as instance:
        operated = Operated(recipe, instance)

        def noise(_: object) -> NoiseGenerator:
            operated.generators += 1
            return NoiseGenerator()

        monkeypatch.setattr("synthvlm_dagster.images.generators.DiffusersGenerator", noise)
        yield operated
