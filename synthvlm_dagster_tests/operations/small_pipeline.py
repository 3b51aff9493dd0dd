"""The whole code location over a recipe with tiny models, to run in the test's own process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.execute_in_process import core_execute_in_process

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.operations.run import Pipeline
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

_COLOURS = ("red", "blue", "green", "yellow", "white", "black")
_THINGS = ("house", "horse", "bicycle", "tower", "table", "lamp", "tree", "bench")


@dataclass(frozen=True)
class SmallProject:
    """A recipe whose captions are the text files of a folder, and an instance on the disk."""

    recipe: Recipe
    instance: dg.DagsterInstance
    incoming: Path

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.recipe)

    @property
    def storage(self) -> Storage:
        return self.dataset.storage

    def repository(self) -> dg.RepositoryDefinition:
        """The project's code location."""
        return build_definitions(self.recipe).get_repository_def()

    def run_job(self, name: str, run_config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Run a job as a run worker does: its ops see the code location that it comes from."""
        job = _JobOfRepository(self.repository(), name)
        return core_execute_in_process(
            run_config or {}, job, self.instance, output_capturing_enabled=False, raise_on_error=False
        )

    def work_left(self) -> dict[str, str | list[str]]:
        """What `synthvlm run` would make: asset → the reason, or the shards."""
        pipeline = Pipeline(self.repository(), self.instance, self.dataset)
        work: dict[str, Any] = {}
        for key in pipeline.asset_keys():
            if pipeline.is_partitioned(key):
                work[key.to_user_string()] = pipeline.shards_with_work(key)
            else:
                work[key.to_user_string()] = pipeline.outdated([key]).get(key)
        return {name: left for name, left in work.items() if left}


def small_recipe(folder: Path, tiny_sdxl_folder: Path, tiny_clip_folder: Path, **changed: Any) -> Recipe:
    """A recipe that makes one 32 × 32 image of each caption in `incoming/*.txt`, and chooses half of them."""
    clip = {"model": str(tiny_clip_folder), "pretrained": None}
    settings: dict[str, Any] = {
        "name": "tiny",
        "storage": str(folder / "store"),
        "sources": [{"name": "mine", "path": str(folder / "incoming" / "*.txt"), "format": "txt"}],
        "shards": 4,
        "curation": {"rules": {"special_char_ratio": None}},
        "generation": {
            "model": str(tiny_sdxl_folder),
            "num_inference_steps": 1,
            "width": 32,
            "height": 32,
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 2,
            "image_format": "png",
        },
        "scoring": {"clip": clip, "ssim": {"reduced_size": 10}, "device": "cpu"},
        "selection": {"share": 0.5},
        "operations": {"new_captions": {"settle_seconds": 0}},
    }
    return Recipe.model_validate(settings | changed)


def caption(number: int) -> str:
    """A caption like no other that the rules keep."""
    return f"A {_COLOURS[number % len(_COLOURS)]} {_THINGS[number // len(_COLOURS)]} stands alone on a wide lawn."


class _JobOfRepository(InMemoryJob):
    def __init__(self, repository: dg.RepositoryDefinition, name: str) -> None:
        super().__init__(repository.get_job(name))
        self._repository = repository

    def get_repository_definition(self) -> dg.RepositoryDefinition:
        return self._repository
