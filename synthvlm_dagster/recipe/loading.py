"""Read a recipe from YAML; every location in it becomes absolute."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe.document import MAX_BYTES, describe_yaml_error, read_document
from synthvlm_dagster.recipe.mistakes import explain_mistakes, place_of
from synthvlm_dagster.recipe.model import STORAGE_VARIABLE, Recipe
from synthvlm_dagster.recipe.section import LocationMark, Section
from synthvlm_dagster.store.credentials import credentials_in
from synthvlm_dagster.store.locations import resolve_location

RECIPES_FOLDER = Path(__file__).parent.parent / "recipes"
RECIPE_FILE = "recipe.yaml"
"""What the recipe of a project is called: the one that commands in its folder use."""

_FACTS_OF_A_MODEL = ("revision", "variant", "licence")
"""Keys of a preset that say nothing of another model than its own."""


def load_recipe(path: str | Path, *, storage_name: str | None = None) -> Recipe:
    """Read and validate a recipe file; relative paths in it become absolute.

    Args:
        path: a YAML file, or the name of a packaged recipe such as `demo`.
        storage_name: what the folder of a recipe that names no storage is called; None: as the recipe.

    Raises:
        RecipeError: the file is missing, is not YAML, or holds an unknown key or an impossible value; names the file,
            the line and the field.
    """
    file = _recipe_file(path)
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read: {error}. A recipe is a text file in UTF-8") from error
    return parse_recipe(text, file, storage_name=storage_name)


def parse_recipe(text: str, file: Path, *, storage_name: str | None = None) -> Recipe:
    """Validate the YAML text of a recipe that stands (or would stand) at `file`; see `load_recipe`."""
    try:
        content, node = read_document(text)
    except yaml.YAMLError as error:
        line, problem = describe_yaml_error(error, text)
        place = f"{file}, line {line}" if line else str(file)
        raise RecipeError(f"{place}: is not valid YAML, or not what a recipe can hold: {problem}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{file}: must be a YAML mapping with keys such as name, sources, generation")
    return _validated(content, file, node, storage_name)


def recipe_of(content: Mapping[str, Any], file: Path, *, storage_name: str | None = None) -> Recipe:
    """Validate a recipe that stands as plain values in another file than a recipe's own.

    Args:
        content: its keys.
        file: where it stands; relative paths start in its folder.
        storage_name: as in `load_recipe`.

    Raises:
        RecipeError: it holds an unknown key or an impossible value; names the file and the field.
    """
    return _validated(dict(content), file, None, storage_name)


def _validated(content: dict[Any, Any], file: Path, node: yaml.Node | None, storage_name: str | None) -> Recipe:
    try:
        recipe = Recipe.model_validate(_over_preset(content))
    except ValidationError as error:
        raise RecipeError(explain_mistakes(error, Recipe, file, node)) from error
    return _with_absolute_locations(recipe, file, node, storage_name)


def _over_preset(content: dict[Any, Any]) -> dict[Any, Any]:
    """The recipe's content with its generation laid over the preset that it names, if there is such a preset."""
    generation = content.get("generation")
    if not isinstance(generation, dict):
        return content
    presets = {file.stem: file for file in (RECIPES_FOLDER / "presets").glob("*.yaml")}
    preset = generation.get("preset")
    if not isinstance(preset, str) or preset not in presets:
        return content
    fragment = yaml.safe_load(presets[preset].read_text(encoding="utf-8"))
    if generation.get("model", fragment["model"]) != fragment["model"]:
        fragment = {name: value for name, value in fragment.items() if name not in _FACTS_OF_A_MODEL}
    return {**content, "generation": {**fragment, **generation}}


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(file.stem for file in RECIPES_FOLDER.glob("*.yaml"))


def _recipe_file(path: str | Path) -> Path:
    if str(path) in packaged_recipes():
        return RECIPES_FOLDER / f"{path}.yaml"
    try:
        file = Path(path).expanduser()
        is_there = file.is_file()
    except (OSError, RuntimeError, ValueError):
        # Too long a name, the home of a user that there is not, a NUL.
        file, is_there = Path(path), False
    if not is_there:
        raise RecipeError(
            f"{file}: no such recipe. Name a YAML file, or one of the packaged recipes: {', '.join(packaged_recipes())}"
        )
    return file


def _with_absolute_locations(recipe: Recipe, file: Path, node: yaml.Node | None, storage_name: str | None) -> Recipe:
    folder = file.resolve().parent

    def absolute(location: str, field: tuple[int | str, ...], always: bool) -> str:
        try:
            return resolve_location(location, folder, always=always)
        except RecipeError as error:
            raise RecipeError(f"{place_of(file, node, field)}: {'.'.join(map(str, field))}: {error}") from error

    if recipe.storage:
        storage = absolute(recipe.storage, ("storage",), True)
    else:
        storage = _default_storage(storage_name or recipe.name)
    return _resolved(recipe, absolute, ()).model_copy(update={"storage": storage})


def _resolved(section: Any, absolute: Callable[..., str], place: tuple[int | str, ...]) -> Any:
    """The section with every field that is marked as a location, at any depth, made absolute."""
    changed: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        # Pydantic lifts the marks of `Location` to the field, but leaves those of `Location | None` in the annotation.
        inner = [mark for part in get_args(field.annotation) for mark in getattr(part, "__metadata__", ())]
        marks = [mark for mark in [*field.metadata, *inner] if isinstance(mark, LocationMark)]
        if isinstance(value, Section):
            changed[name] = _resolved(value, absolute, (*place, name))
        elif isinstance(value, tuple) and any(isinstance(entry, Section) for entry in value):
            changed[name] = tuple(
                _resolved(entry, absolute, (*place, name, number)) for number, entry in enumerate(value)
            )
        elif value and marks:
            changed[name] = absolute(value, (*place, name), marks[0].always)
    return section.model_copy(update=changed)


def _default_storage(name: str) -> str:
    if root := os.environ.get(STORAGE_VARIABLE):
        if refusal := credentials_in(root):
            raise RecipeError(f"${STORAGE_VARIABLE}: {refusal}")
        return resolve_location(root.rstrip("/"), Path.cwd(), always=True) + f"/{name}"
    home = os.environ.get("DAGSTER_HOME")
    beside = Path(home).expanduser().resolve().parent if home else Path.cwd()
    return str(beside / "storage" / name)
