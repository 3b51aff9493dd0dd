"""A project folder of a user: a recipe, a Dagster home, a store, and the commands typed in it."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from unittest.mock import patch

import polars as pl

from synthvlm_dagster.cli import main
from synthvlm_dagster.demo.world import all_scenes, phrasings
from synthvlm_dagster.recipe import Recipe, load_recipe
from synthvlm_dagster.store.storage import Storage

EVERY_ASSET = (
    "raw_captions",
    "curated_captions",
    "rejected_captions",
    "planned_attempts",
    "generated_images",
    "image_scores",
    "selected_pairs",
    "llava_dataset",
    "webdataset",
    "dataset_card",
    "huggingface_dataset",
    "quality_report",
)

RECIPE = """\
name: small
seed: 7
storage: storage
sources:
  - name: mine
    path: captions.csv
shards: {shards}
shards_per_run: 2
attempts: {{per_caption: {attempts}}}
generation:
  model: package://synthvlm_dagster.demo/models/shapes-sdxl
  num_inference_steps: 2
  guidance_scale: 2
  width: 64
  height: 64
  dtype: float32
  batch_size: 4
  images_per_chunk: 4
  image_format: png
scoring:
  clip:
    model: package://synthvlm_dagster.demo/models/shapes-clip
    pretrained: null
  ssim: {{reduced_size: 21}}
selection: {{count: 5}}
"""


@dataclass(frozen=True)
class Project:
    """A folder with recipe.yaml and captions.csv."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.folder / "recipe.yaml")

    @property
    def storage(self) -> Storage:
        return Storage(self.recipe.storage)

    @property
    def home(self) -> Path:
        return self.folder / ".dagster_home"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "SYNTHVLM"))}
        return kept | {
            "SYNTHVLM_RECIPE": str(self.folder / "recipe.yaml"),
            "DAGSTER_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *arguments: str, environment: dict[str, str] | None = None, **options) -> subprocess.Popen:
        """Start a Python module's command line, e.g. `start("synthvlm_dagster.cli", "run")`, in the folder."""
        environment = self.environment | (environment or {})
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=self.folder, env=environment, text=True, **options
        )

    def synthvlm(self, *arguments: str) -> subprocess.CompletedProcess:
        """Type a `synthvlm` command and wait for its end.

        It runs in this process, with the folder, the environment and the files of output that a process of its own
        would have, and so without loading PyTorch and diffusers anew. What is killed, or has to begin with nothing, is
        started by `start`.
        """
        # Not closed here: a handler of a log may hold on to them.
        streams = TemporaryFile("w+"), TemporaryFile("w+")  # noqa: SIM115
        with (
            chdir(self.folder),
            patch.dict(os.environ, self.environment, clear=True),
            redirect_stdout(streams[0]),
            redirect_stderr(streams[1]),
        ):
            code = _exit_code(arguments)
        told = []
        for stream in streams:
            stream.seek(0)
            told.append(stream.read())
        return subprocess.CompletedProcess(("synthvlm", *arguments), code, *told)

    def image_ids(self) -> list[str]:
        """Ids of every row of every chunk file, so that an image made twice shows up twice."""
        if not self.storage.has_table("images"):
            return []
        return self.storage.scan("images").select("image_id").collect()["image_id"].sort().to_list()


def _exit_code(arguments: tuple[str, ...]) -> int:
    try:
        main(arguments, prog_name="synthvlm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        traceback.print_exc()
        return 1


def make_project(folder: Path, *, captions: int = 10, shards: int = 3, attempts: int = 2) -> Project:
    """Lay out a project with that many captions of the demo's world."""
    from synthvlm_dagster.operations.home import PROJECT_FILES, project_file

    folder.mkdir(parents=True, exist_ok=True)
    scenes = [scene for scene, _ in zip(all_scenes(1), range(captions), strict=False)]
    pl.DataFrame({"caption": [phrasings(scene)[0] for scene in scenes]}).write_csv(folder / "captions.csv")
    (folder / "recipe.yaml").write_text(RECIPE.format(shards=shards, attempts=attempts))
    for name in PROJECT_FILES:
        (folder / name).write_bytes(project_file(name).read_bytes())
    project = Project(folder)
    project.home.mkdir()
    (project.home / "dagster.yaml").symlink_to("../dagster.yaml")
    return project
