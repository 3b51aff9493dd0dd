"""Which recipe this process works on: for the `synthvlm` command and the code location alone.

Everything else takes the recipe as an argument: two datasets in one process have two.
"""

from __future__ import annotations

import os
from pathlib import Path

from synthvlm_dagster.recipe.loading import RECIPE_FILE, load_recipe
from synthvlm_dagster.recipe.model import Recipe

RECIPE_VARIABLE = "SYNTHVLM_RECIPE"


def active_recipe() -> Recipe:
    """The recipe of `active_recipe_name`."""
    return load_recipe(active_recipe_name())


def active_recipe_name() -> str:
    """What $SYNTHVLM_RECIPE names; without it recipe.yaml in the current folder; without that the packaged demo."""
    here = Path(RECIPE_FILE)
    return os.environ.get(RECIPE_VARIABLE) or (str(here.resolve()) if here.is_file() else "demo")
