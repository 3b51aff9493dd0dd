"""The whole code location over a recipe with tiny models, to run in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.execute_in_process import core_execute_in_process

from synthvlm_dagster.definitions import defs
from synthvlm_dagster.operations.run import Pipeline, Step
from synthvlm_dagster.recipe import Recipe, active_recipe
from synthvlm_dagster.storage import Storage


def small_recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path, captions: str, **changed: Any) -> Recipe:
    """A recipe that makes one 32 × 32 image of each caption, and chooses half of them."""
    clip = {"model": str(tiny_clip_folder), "pretrained": None}
    settings: dict[str, Any] = {
        "generation": {"image_format": "png", "num_inference_steps": 1},
        "sources": [{"name": "mine", "path": captions, "format": "txt"}],
        "curation": {"rules": {"special_char_ratio": None}},
        "scoring": {"clip": clip, "ssim": {"reduced_size": 10}, "device": "cpu"},
        # Those that the code location in this process has.
        "shards": active_recipe().shards,
    }
    return tiny_recipe(**settings | changed)


def small_repository(recipe: Recipe) -> dg.RepositoryDefinition:
    """The project's code location, on another recipe and store."""
    resources = {"recipe": recipe, "storage": Storage(recipe.storage)}
    return dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=defs.jobs,
        resources=resources,
        executor=defs.executor,
        loggers=defs.loggers,
    ).get_repository_def()


def run_job(
    recipe: Recipe, instance: dg.DagsterInstance, name: str, run_config: dict[str, Any] | None = None
) -> dg.ExecuteInProcessResult:
    """Run a job as a run worker does: its ops see the code location that it comes from."""
    job = _JobOfRepository(small_repository(recipe), name)
    return core_execute_in_process(
        run_config or {}, job, instance, output_capturing_enabled=False, raise_on_error=False
    )


class _JobOfRepository(InMemoryJob):
    def __init__(self, repository: dg.RepositoryDefinition, name: str) -> None:
        super().__init__(repository.get_job(name))
        self._repository = repository

    def get_repository_definition(self) -> dg.RepositoryDefinition:
        return self._repository


def work_left(recipe: Recipe, instance: dg.DagsterInstance) -> list[Step]:
    """The runs that `synthvlm run` would launch first."""
    pipeline = Pipeline(small_repository(recipe), instance, recipe, Storage(recipe.storage))
    return [step for level in pipeline._levels(set(pipeline.asset_keys())) for step in pipeline._steps(level, None)]


def caption(number: int) -> str:
    """A caption like no other that the rules keep."""
    return f"A {_COLOURS[number % len(_COLOURS)]} {_THINGS[number // len(_COLOURS)]} stands alone on a wide lawn."


_COLOURS = ("red", "blue", "green", "yellow", "white", "black")
_THINGS = ("house", "horse", "bicycle", "tower", "table", "lamp", "tree", "bench")
