"""Settings that hold for one run alone: part of the record of the table that was made with them (see `made_from`).

So the two cannot part. Whoever describes the table asks `recipe_of_table` what it was made with, and a table that is
made without such settings has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.mistakes import explain_mistakes

if TYPE_CHECKING:
    from synthvlm_dagster.store.storage import Storage

_WHERE = Path("the run's config")


class Change(NamedTuple):
    """One setting that is other than the recipe's."""

    name: str
    """Its place in the recipe, e.g. `selection.count`."""
    value: Any
    in_recipe: Any

    def __str__(self) -> str:
        """For example `selection.count 3 (recipe: 5)`."""
        return f"{self.name} {_shown(self.value)} (recipe: {_shown(self.in_recipe)})"

    @property
    def row(self) -> dict[str, str]:
        """Its cells in a table for people."""
        return {"setting": self.name, "this run": _shown(self.value), "recipe": _shown(self.in_recipe)}


def with_settings(recipe: Recipe, section: str, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings of one section replaced, validated as if they stood in its file.

    Args:
        recipe: as read from its file.
        section: `curation`, `attempts` or `selection`.
        settings: the new values; a mapping within replaces only what it names.

    Raises:
        RecipeError: a value is impossible, or does not go with the rest of the recipe; names the field.
    """
    old = getattr(recipe, section).model_dump()
    merged = _merged(old, settings)
    if merged == old:
        return recipe
    kept = {name: getattr(recipe, name) for name in Recipe.model_fields}
    try:
        return Recipe.model_validate(kept | {section: merged})
    except ValidationError as error:
        raise RecipeError(explain_mistakes(error, Recipe, _WHERE, None)) from None


def changes(recipe: Recipe, changed: Recipe) -> tuple[Change, ...]:
    """What the second recipe says otherwise than the first, setting by setting."""
    return tuple(
        change
        for name in Recipe.model_fields
        if getattr(recipe, name) != getattr(changed, name)
        for change in _changes(_plain(recipe, name), _plain(changed, name), name)
    )


def note(recipe: Recipe, changed: Recipe, section: str) -> dict[str, Any]:
    """What the table's record holds as `one_run`; empty where the section is as in the recipe."""
    differing = _differing(_plain(recipe, section), _plain(changed, section))
    return {section: differing} if differing else {}


def recipe_of_table(recipe: Recipe, storage: Storage, table: str) -> Recipe:
    """The recipe with the settings that a table was made with, if that run had settings of its own.

    Settings that do not go with the recipe as it is now, because its file has been changed since, are left out: the
    table is outdated then, whatever made it.
    """
    record = storage.table_made_from(table)
    if record is None or not record.one_run:
        return recipe
    [(section, settings)] = record.one_run.items()
    try:
        return with_settings(recipe, section, settings)
    except RecipeError:
        return recipe


def _plain(recipe: Recipe, section: str) -> Any:
    value = getattr(recipe, section)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _merged(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return old | {
        name: _merged(old[name], value) if isinstance(value, Mapping) and isinstance(old.get(name), dict) else value
        for name, value in new.items()
    }


def _differing(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _differing(old[name], value) if isinstance(value, dict) and isinstance(old[name], dict) else value
        for name, value in new.items()
        if value != old[name]
    }


def _changes(old: Any, new: Any, name: str) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in new:
            if old.get(key) != new[key]:
                yield from _changes(old.get(key), new[key], f"{name}.{key}")
    else:
        yield Change(name, new, old)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
