"""A project in this process: a world of files, a store, a Dagster instance, and the real pipeline between them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.failures import failure_in_words
from synthvlm_dagster.operations.names import ASSET_JOB
from synthvlm_dagster.operations.run import Pipeline, Step
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster_tests.law.world import World


@dataclass(frozen=True)
class Ran:
    """What a run did."""

    succeeded: bool
    launched: tuple[str, ...]
    """The runs that it launched, with their reasons; and, if it failed, why."""


def pipeline_of(recipe: Recipe, instance: dg.DagsterInstance) -> Pipeline:
    """The real pipeline over a recipe, as `synthvlm run` opens it."""
    return Pipeline(_repository(recipe.model_dump_json(exclude_unset=True)), instance, Dataset(recipe))


@lru_cache(maxsize=4)
def _repository(recipe: str) -> dg.RepositoryDefinition:
    """The code location of a recipe, which is the same for every run of it."""
    return build_definitions(Recipe.model_validate_json(recipe)).get_repository_def()


def run(recipe: Recipe, instance: dg.DagsterInstance, shards: Sequence[str] | None = None) -> Ran:
    """As `synthvlm run`."""
    launched: list[str] = []

    def note(step: Step) -> None:
        launched.append(f"{step.in_words}: {step.reason}")

    try:
        pipeline = pipeline_of(recipe, instance)
        outcome = pipeline.run_missing(set(pipeline.asset_keys()), shards, {}, note)
    except SynthVLMError as error:
        # What the command shows as its message alone.
        return Ran(False, (*launched, str(error)))
    if not outcome.succeeded:
        launched += _failures(instance)
    return Ran(outcome.succeeded, tuple(launched))


def _failures(instance: dg.DagsterInstance) -> list[str]:
    """What went wrong in the run that failed last."""
    failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
    return [f"failed: {failure_in_words(instance, run.run_id)}" for run in failed]


def work_left(recipe: Recipe, instance: dg.DagsterInstance) -> dict[str, str | list[str]]:
    """What `synthvlm plan` says is to be made: asset → the reason, or its shards."""
    pipeline = pipeline_of(recipe, instance)
    keys = pipeline.asset_keys()
    work: dict[dg.AssetKey, Any] = {key: pipeline.shards_with_work(key) for key in keys if pipeline.is_partitioned(key)}
    work |= pipeline.outdated(key for key in keys if not pipeline.is_partitioned(key))
    return {key.to_user_string(): left for key, left in work.items() if left}


def unsynced(recipe: Recipe, instance: dg.DagsterInstance) -> dict[str, str]:
    """What the Dagster UI marks as out of date, and why: asset, with its shard → causes."""
    graph = _repository(recipe.model_dump_json(exclude_unset=True)).asset_graph
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    found: dict[str, str] = {}
    for key in graph.materializable_asset_keys:
        for shard in recipe.shard_keys if graph.get(key).is_partitioned else [None]:
            status = resolver.get_status(key, shard)
            if status is not StaleStatus.FRESH:
                causes = "; ".join(cause.reason for cause in resolver.get_stale_causes(key, shard))
                found[f"{key.to_user_string()}{f'[{shard}]' if shard else ''}"] = f"{status.value}: {causes}"
    return found


class Project:
    """A world, and what has been made of it.

    Attributes:
        world: files and recipe.
        storage: folder of the store.
        instance: records the runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._moves = 0
        self.world = World(folder / "world")
        self.storage = folder / "store-0"
        shutil.rmtree(self.storage, ignore_errors=True)
        self.instance = dg.DagsterInstance.ephemeral()

    @property
    def recipe(self) -> Recipe:
        """As it stands now, over the store."""
        return self.world.validated(self.storage)

    def run(self) -> Ran:
        """As `synthvlm run`."""
        return run(self.recipe, self.instance)

    def close(self) -> None:
        """End the instance, and delete the store."""
        self.instance.dispose()
        shutil.rmtree(self.storage, ignore_errors=True)

    def file_of_store(self, folder: str, number: int) -> Path | None:
        """One of the files below a folder of the store, counted round and round; None when there is none."""
        files = sorted(file for file in (self.storage / folder).rglob("*") if file.is_file())
        return files[number % len(files)] if files else None

    def delete_from_store(self, path: str) -> None:
        """Delete a file or folder of the store."""
        target = self.storage / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def forget_history(self) -> None:
        """Go on with an instance that knows nothing."""
        self.instance.dispose()
        self.instance = dg.DagsterInstance.ephemeral()

    def move_storage(self) -> None:
        """Move the store."""
        self._moves += 1
        moved = self._folder / f"store-{self._moves}"
        shutil.rmtree(moved, ignore_errors=True)
        if self.storage.exists():
            self.storage.rename(moved)
        self.storage = moved

    def run_some(self, selection: str) -> None:
        """As `synthvlm run --select`."""
        pipeline = pipeline_of(self.recipe, self.instance)
        with suppress(SynthVLMError):
            pipeline.run_missing(pipeline.resolve_selection(selection), None, {}, lambda _: None)

    def run_shards(self, shards: Sequence[str]) -> None:
        """As `synthvlm run --shards`."""
        run(self.recipe, self.instance, shards)

    def run_with_settings(self, op: str, settings: dict[str, Any]) -> None:
        """As a run of one asset from the launchpad, with settings of its own."""
        repository = _repository(self.recipe.model_dump_json(exclude_unset=True))
        asset = next(asset for asset in repository.assets_defs_by_key.values() if asset.op.name == op)
        repository.get_job(ASSET_JOB).execute_in_process(
            run_config={"ops": {op: {"config": settings}}},
            instance=self.instance,
            asset_selection=list(asset.keys),
            raise_on_error=False,
        )

    def night(self, **limits: Any) -> bool:
        """As a run of the job `regenerate_weak_pairs`; returns whether it succeeded."""
        repository = _repository(self.recipe.model_dump_json(exclude_unset=True))
        config = {"ops": {"try_weak_captions_again": {"config": limits}}}
        # A job that runs in this process is told of no code location.
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(dg.OpExecutionContext, "repository_def", property(lambda _: repository))
            job = repository.get_job("regenerate_weak_pairs")
            return job.execute_in_process(config, instance=self.instance, raise_on_error=False).success
