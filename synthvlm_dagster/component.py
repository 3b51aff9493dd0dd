"""A dataset as a Dagster Component: several of them, each from its own recipe, stand in one Dagster project.

`dg scaffold defs synthvlm_dagster.component.SynthVLMDataset NAME` writes a folder with a recipe to edit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import dagster as dg
import yaml
from pydantic import BaseModel, Field

from synthvlm_dagster.orchestration.dataset import WHAT_A_PREFIX_IS, is_prefix
from synthvlm_dagster.recipe import RECIPE_FILE, RECIPES_FOLDER, Recipe, load_recipe, packaged_recipes, recipe_of


class ScaffoldSettings(BaseModel):
    """What the folder of a new dataset begins with."""

    template: str = Field("start", description=f"Packaged recipe to start from: {', '.join(packaged_recipes())}.")


class SynthVLMDatasetScaffolder(dg.Scaffolder[ScaffoldSettings]):
    """Writes the folder of a dataset: its recipe, and the file that names it."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldSettings]:
        """The settings that the command takes."""
        return ScaffoldSettings

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldSettings]) -> None:
        """Copy the template, named as the folder is, and name the recipe and the prefix in `defs.yaml`.

        Raises:
            click.ClickException: there is no such template, the folder's name cannot be a prefix, or another dataset of
                the project has that prefix. Nothing is written, and an empty folder is taken away.
        """
        folder = request.target_path
        wrong = _why_not(request)
        if wrong is not None:
            with suppress(OSError):  # Dagster made it; one that holds anything stays
                folder.rmdir()
            raise click.ClickException(wrong)
        folder.mkdir(parents=True, exist_ok=True)
        text = (RECIPES_FOLDER / f"{request.params.template}.yaml").read_text(encoding="utf-8")
        name = re.sub(r"(?m)^name: \S+", f"name: {_prefix_of(folder).lower()}", text, count=1)
        (folder / RECIPE_FILE).write_text(name, encoding="utf-8")
        dg.scaffold_component(request, {"recipe": RECIPE_FILE, "key_prefix": _prefix_of(folder)})


def _prefix_of(folder: Path) -> str:
    """The folder's name, where `few-steps` is `few_steps`."""
    return re.sub(r"[\W_]+", "_", folder.name, flags=re.ASCII).strip("_")


def _why_not(request: dg.ScaffoldRequest[ScaffoldSettings]) -> str | None:
    template, folder = request.params.template, request.target_path
    if template not in packaged_recipes():
        return f"template: no packaged recipe {template!r}; there are {', '.join(packaged_recipes())}"
    prefix = _prefix_of(folder)
    if not is_prefix(prefix):
        return f"{folder.name!r} cannot be the name of a dataset, whose assets' keys begin with it: {WHAT_A_PREFIX_IS}"
    definitions = next((parent for parent in folder.parents if parent.name == "defs"), folder.parent)
    for other in sorted(definitions.rglob("defs.yaml")):
        if other.parent != folder and prefix in _prefixes_in(other):
            return f"the dataset in {other.parent} has the key_prefix {prefix!r} already; name this one differently"
    return None


def _prefixes_in(file: Path) -> list[Any]:
    """The key prefixes of the components that a file names; none where it cannot be read, which Dagster will tell."""
    try:
        components = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError):
        return []
    attributes = [component.get("attributes") for component in components if isinstance(component, dict)]
    return [each.get("key_prefix") for each in attributes if isinstance(each, dict)]


@dg.scaffold_with(SynthVLMDatasetScaffolder)
class SynthVLMDataset(dg.Component, dg.Model, dg.Resolvable):
    """Image-caption pairs for vision-language models: curated captions, synthesized images, the best pairs."""

    recipe: str | Mapping[str, Any] = Field(
        RECIPE_FILE,
        description="The recipe: a YAML file, from this folder; the name of a packaged one; or its keys themselves.",
    )
    key_prefix: str | list[str] | None = Field(
        None,
        description="What the keys of the dataset's assets, and the names of its jobs, schedules and sensors, begin "
        "with. Needed where a project has several datasets. Without a storage in the recipe, its tables stand in a "
        "folder of this name.",
    )
    executor: bool = Field(
        True,
        description="Bring the executor that keeps a run in one process, so that a killed run frees its GPU; false "
        "where the project names an executor of its own.",
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, checks, jobs, schedules and sensors of the recipe.

        Raises:
            RecipeError: the recipe is missing or not valid; names the file and the field.
        """
        from synthvlm_dagster.definitions import build_definitions

        definitions = build_definitions(self._read_recipe(context.path), key_prefix=self.key_prefix)
        return dg.Definitions(
            assets=definitions.assets,
            asset_checks=definitions.asset_checks,
            jobs=definitions.jobs,
            schedules=definitions.schedules,
            sensors=definitions.sensors,
            executor=definitions.executor if self.executor else None,
        )

    def _read_recipe(self, path: Path) -> Recipe:
        folder = path if path.is_dir() else path.parent
        prefix = [self.key_prefix] if isinstance(self.key_prefix, str) else self.key_prefix
        storage_name = "-".join(prefix) if prefix else None
        if not isinstance(self.recipe, str):
            return recipe_of(self.recipe, folder / "defs.yaml", storage_name=storage_name)
        packaged = self.recipe in packaged_recipes() and not (folder / self.recipe).exists()
        return load_recipe(self.recipe if packaged else folder / self.recipe, storage_name=storage_name)
