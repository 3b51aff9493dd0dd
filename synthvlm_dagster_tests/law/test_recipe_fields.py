"""Every field of the recipe is edited by the law's test, or listed as one that nothing in the store depends on."""

from __future__ import annotations

import types
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster_tests.law.edits import CHOICES, SHAPES_NOTHING
from synthvlm_dagster_tests.law.world import World


def fields_of(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every field that holds no section, such as `curation.rules.judge.question`, through lists and options."""
    for name, field in model.model_fields.items():
        sections = list(_sections(field.annotation))
        for section in sections:
            yield from fields_of(section, f"{above}{name}.")
        if not sections:
            yield f"{above}{name}"


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) in (Union, types.UnionType, tuple, Annotated):
        for part in get_args(annotation):
            yield from _sections(part)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def values_in(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Every field of a section that is on, by the same names, and its value as text."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from values_in(getattr(value, name), f"{above}.{name}" if above else name)
    elif isinstance(value, tuple) and any(isinstance(part, BaseModel) for part in value):
        for part in value:
            yield from values_in(part, above)
    else:
        yield above, repr(value)


def listed(field: str) -> bool:
    """Whether a field, or a section above it, is listed as shaping nothing."""
    parts = field.split(".")
    return any(".".join(parts[:length]) in SHAPES_NOTHING for length in range(1, len(parts) + 1))


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> set[str]:
    """Fields that have another value in one of the recipes that the edits make than in another."""
    world = World(tmp_path_factory.mktemp("world"))
    values: defaultdict[str, set[str]] = defaultdict(set)
    for field, choices in CHOICES.items():
        begun_with = world.recipe
        for choice in choices:
            try:
                world.set(field, choice)
            except ValidationError:
                # It goes together with another edit.
                world.set("scoring.judges", {"siglip": {}, "vqa": {"model": "org/vqa"}})
                world.set("curation.rules.image_text_similarity", {})
                world.set(field, choice)
            for name, value in values_in(world.validated(tmp_path_factory.getbasetemp())):
                values[name].add(value)
            world.recipe = begun_with
    return {name for name, found in values.items() if len(found) > 1}


def test_every_field_of_the_recipe_is_edited_or_listed_with_a_reason(edited):
    forgotten = [field for field in fields_of(Recipe) if field not in edited and not listed(field)]
    assert not forgotten, (
        f"{forgotten}: give the field values in CHOICES of law/edits.py; or list it in SHAPES_NOTHING, with the reason "
        "why nothing in the store depends on it"
    )


def test_what_is_listed_as_shaping_nothing_is_in_the_recipe_and_not_edited(edited):
    known = set(fields_of(Recipe))
    assert [name for name in SHAPES_NOTHING if not any(f"{field}.".startswith(f"{name}.") for field in known)] == []
    assert sorted(field for field in edited if listed(field)) == []


def test_a_field_that_is_new_to_the_recipe_is_missed(edited):
    class Later(Recipe):
        sharpness: float = 1.0

    assert [field for field in fields_of(Later) if field not in edited and not listed(field)] == ["sharpness"]
