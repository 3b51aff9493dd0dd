"""The recipe as it made the tables that stand: with what was set for the runs that made them (see `one_run`)."""

from __future__ import annotations

from synthvlm_dagster.captions.tables import CURATED
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.images.plan import recipe_of_plan
from synthvlm_dagster.orchestration.one_run import recipe_of_table
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage


def recipe_as_made(recipe: Recipe, storage: Storage) -> Recipe:
    """The recipe with the curation, the attempts and the selection that captions, plan and pairs were made with."""
    curated = recipe_of_table(recipe, storage, CURATED)
    return recipe_of_table(recipe_of_plan(curated, storage), storage, SELECTED)
