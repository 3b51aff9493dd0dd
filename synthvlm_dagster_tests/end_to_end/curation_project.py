"""A user's project whose captions are curated by `synthvlm run`, killed on demand, and looked at afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import yaml

from synthvlm_dagster.captions.assets import caption_assets
from synthvlm_dagster.captions.checks import caption_checks
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.end_to_end.project import Project, make_project

CAPTION_TABLES = ("captions/raw", "captions/curated", "captions/rejected")
RUN = ("run", "--select", 'group:"captions"')
_MOST_SECONDS = 240


def curation_project(folder: Path, sources: list[dict[str, Any]], rules: dict[str, Any]) -> Project:
    """Lay out a project with these sources and rules."""
    project = make_project(folder)
    change_recipe(project, lambda recipe: recipe.update(sources=sources, curation={"rules": rules}))
    return project


def change_recipe(project: Project, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the recipe after `change` has worked on it."""
    path = project.folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    change(recipe)
    path.write_text(yaml.safe_dump(recipe, allow_unicode=True))


def curate(project: Project) -> str:
    """Run the captions' assets to their end; gives what the terminal showed."""
    outcome = project.synthvlm(*RUN)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def curate_until(project: Project, reached: Callable[[], bool]) -> None:
    """Begin the same, and kill -9 it as soon as `reached()`."""
    log = project.folder / "killed.log"
    with log.open("w") as output:
        running = project.start(
            "synthvlm_dagster.cli", *RUN, start_new_session=True, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + _MOST_SECONDS
            while not reached():
                assert running.poll() is None, f"ended before it could be killed: {log.read_text()}"
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.002)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def is_being_written(project: Project, table: str) -> Callable[[], bool]:
    """Tells whether a table has a part of its rows in a temporary file."""
    folder = Path(project.storage.url(table))
    magic_bytes = 4
    return lambda: any(file.stat().st_size > magic_bytes for file in unfinished_files(folder))


def unfinished_files(folder: Path) -> list[Path]:
    """Temporary files in a folder of the store."""
    return list(folder.glob(".tmp-*"))


def measurement_files(project: Project, statistic: str) -> list[str]:
    """Chunks of a costly statistic's values."""
    files = project.storage.files("captions/measurements", ".parquet")
    return [file for file in files if f"/{statistic}-" in file]


def measured_values(project: Project, statistic: str) -> pl.DataFrame:
    """Key and value of every row of every chunk, so that what was measured twice shows up twice."""
    return project.storage.scan_files(measurement_files(project, statistic)).select("key", "value").collect()


def captions_of(storage: Storage) -> list[pl.DataFrame]:
    """Raw, curated and rejected captions."""
    return [storage.scan(table).collect() for table in CAPTION_TABLES]


def versions(project: Project) -> list[str]:
    return [project.storage.version(table) for table in CAPTION_TABLES]


def undisturbed(project: Project) -> Storage:
    """The same recipe through the same assets, in this process and in memory, from an empty store."""
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    curate_here(project, storage)
    return storage


def curate_here(project: Project, storage: Storage) -> None:
    """Materialize the captions' assets in this process, without a record in the project's Dagster instance."""
    dataset = Dataset(project.recipe)
    # A store in memory is its object's alone.
    vars(dataset)["storage"] = storage
    result = dg.materialize(
        [*caption_assets(dataset), *caption_checks(dataset)],
    )
    assert result.success


@contextmanager
def instance_of(project: Project) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        yield instance


def metadata_of(project: Project, asset: str) -> dict[str, Any]:
    """Values of the asset's latest metadata."""
    with instance_of(project) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def measurements(project: Project) -> dict[str, tuple[int, int, int]]:
    """Of each costly statistic: measured now, found in the store, not measured, as the metadata shows them."""
    lines = metadata_of(project, "curated_captions")["measurements"].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: tuple(int(number.replace(",", "")) for number in numbers[:3]) for name, *numbers in cells}
