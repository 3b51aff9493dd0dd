"""Exports that stand in the store although the recipe has switched them off.

They would publish pairs of an earlier day, with captions that have been taken back since. What is taken out of the
recipe goes with the next run, as every table follows it.
"""

from __future__ import annotations

from collections.abc import Callable

from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.references import SUMMARY
from synthvlm_dagster.store.failed_checks import forget_verdicts
from synthvlm_dagster.store.made_from import FOLDERS_RECORD
from synthvlm_dagster.store.storage import Storage


def withdrawn(recipe: Recipe, storage: Storage) -> list[str]:
    """Paths of what stands of exports that the recipe does without, and of comparisons when it makes none.

    Raises:
        StorageError: the store cannot be reached.
    """
    places = [export.folder for export in all_exports() if getattr(recipe.exports, export.name) is None]
    if not recipe.comparisons:
        places.append(SUMMARY)
    return [place for place in places if storage.files(place)]


def delete_withdrawn(recipe: Recipe, storage: Storage, on_deleted: Callable[[str], None] = lambda _: None) -> None:
    """Delete what `withdrawn` names; a kill in between leaves nothing that looks whole.

    Args:
        recipe: says what is wanted.
        storage: the recipe's store.
        on_deleted: told of each in a sentence.

    Raises:
        StorageError: the store cannot be reached, or a file cannot be deleted.
    """
    for place in withdrawn(recipe, storage):
        for path in sorted(storage.files(place), key=lambda path: not path.endswith(FOLDERS_RECORD)):
            storage.delete(path)
        storage.delete_empty_folders(place)
        forget_verdicts(storage, place)
        on_deleted(f"{storage.url(place)} is deleted: the recipe does without it")
