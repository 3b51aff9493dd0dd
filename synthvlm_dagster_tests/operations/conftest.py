from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_dagster.operations.refresh import REFRESH_JOB
from synthvlm_dagster_tests.operations.small_pipeline import SmallProject, caption, small_recipe


@pytest.fixture(scope="session")
def small_project(
    tmp_path_factory: pytest.TempPathFactory, tiny_sdxl_folder: Path, tiny_clip_folder: Path
) -> Iterator[SmallProject]:
    """A project of four captions in which everything has been made by one refresh."""
    folder = tmp_path_factory.mktemp("small-project")
    (folder / "incoming").mkdir()
    (folder / "incoming" / "first.txt").write_text("".join(f"{caption(number)}\n" for number in range(4)))
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        recipe = small_recipe(folder, tiny_sdxl_folder, tiny_clip_folder)
        project = SmallProject(recipe, instance, folder / "incoming")
        assert project.run_job(REFRESH_JOB).success
        yield project
