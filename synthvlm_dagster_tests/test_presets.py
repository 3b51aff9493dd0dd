"""Presets: fragments of a recipe's generation, under what the recipe itself says."""

from pathlib import Path
from typing import get_args

import pytest

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Generation, parse_recipe
from synthvlm_dagster.recipe.loading import RECIPES_FOLDER

PRESETS = sorted(file.stem for file in (RECIPES_FOLDER / "presets").glob("*.yaml"))


def generation(text: str) -> Generation:
    recipe = f"name: mine\nsources: [{{name: mine, path: a.csv}}]\ngeneration: {text}\nselection: {{count: 1}}\n"
    return parse_recipe(recipe, Path("/recipes/recipe.yaml")).generation


def test_every_preset_that_a_recipe_may_name_is_there() -> None:
    [names, _] = get_args(Generation.model_fields["preset"].annotation)
    assert sorted(get_args(names)) == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_all_that_a_generation_needs(preset: str) -> None:
    found = generation(f"{{preset: {preset}}}")
    assert found.preset == preset
    assert found.model.count("/") == 1


def test_the_papers_settings() -> None:
    paper = generation("{preset: paper}")
    assert (paper.num_inference_steps, paper.guidance_scale, paper.width, paper.height) == (60, 20, 1024, 1024)
    assert paper.refiner is not None
    assert paper.refiner.handover == 0.8


def test_what_a_recipe_says_comes_over_the_preset() -> None:
    found = generation("{preset: paper, num_inference_steps: 30, refiner: null}")
    assert (found.num_inference_steps, found.guidance_scale, found.refiner) == (30, 20, None)
    assert found.variant == "fp16"


def test_another_model_has_not_the_presets_revision_variant_and_licence() -> None:
    found = generation("{preset: paper-fast, model: someone/another}")
    assert (found.revision, found.variant, found.licence) == (None, None, None)
    assert found.num_inference_steps == 25
    kept = generation(f"{{preset: paper-fast, model: {generation('{preset: paper-fast}').model}}}")
    assert (kept.variant, kept.licence) == ("fp16", "CreativeML Open RAIL++-M")


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    with pytest.raises(RecipeError, match=r"(?s)generation.preset.*paper"):
        generation("{preset: papre}")


def test_a_mistake_beside_a_preset_names_its_line() -> None:
    with pytest.raises(RecipeError, match=r"recipe.yaml, line 5: generation.num_inference_steps"):
        generation("\n  preset: paper\n  num_inference_steps: many")
