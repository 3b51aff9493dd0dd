"""What recipes and the dataset that stands in a store refer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from synthvlm_dagster.captions.measures.costly import costly_measures
from synthvlm_dagster.captions.measures.measurements import MEASUREMENTS
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.errors import RecipeError, SynthVLMError
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import embeddings_table, judge_table, scores_table
from synthvlm_dagster.scores.references import SUMMARY
from synthvlm_dagster.store.storage import Storage


class References(NamedTuple):
    """What must stay, by the names that folders of the store have."""

    generators: frozenset[str]
    """Of the recipes, and of the selected pairs; None of its images is deleted."""
    whole: frozenset[str]
    """Generators of which everything stays, as the selected pairs' scores are of a scorer that no recipe names."""
    tables: frozenset[str]
    """Folders of scores, judges' values and embeddings: `scores/<generator>/<scorer>` and so on."""
    measurements: frozenset[str] | None
    """Folders of measured captions; None: cannot be told, so all of them stay."""
    comparisons: frozenset[str]
    """Names of the recipes' comparisons, and folders that the table of the comparisons names."""
    unknown_pairs: bool
    """Nothing says what the selected pairs were made from: then every generator stays."""


def find_references(storage: Storage, recipes: Sequence[Recipe]) -> References:
    """What recipes that share a store, and the selected pairs in it, refer to.

    Args:
        storage: the store.
        recipes: at least one.

    Raises:
        RecipeError: a recipe stores elsewhere.
        ModelError: a model of a recipe is written as a path, and nothing is there.
        StorageError: the store cannot be read.
    """
    for recipe in recipes:
        if Storage(recipe.storage).url() != storage.url():
            raise RecipeError(
                f"recipe {recipe.name} stores in {Storage(recipe.storage).url()}, not in {storage.url()}: name only "
                "recipes that share a store"
            )
    generators = {generator_name(recipe) for recipe in recipes}
    tables = {_folder(table) for recipe in recipes for table in _tables(recipe, recipe.shard_keys[0])}
    scored_by = _scorer_of_selected_pairs(storage)
    unnamed = {scored_by.split("/")[1]} if scored_by and scored_by not in tables else set()
    return References(
        generators=frozenset(generators | unnamed),
        whole=frozenset(unnamed),
        tables=frozenset(tables),
        measurements=_measurements(recipes),
        comparisons=frozenset(_comparisons(storage, recipes)),
        unknown_pairs=scored_by is None and storage.has_table(SELECTED),
    )


def _tables(recipe: Recipe, shard: str) -> list[str]:
    judges = [judge_table(recipe, judge, shard) for judge in recipe.scoring.judges.configured]
    return [scores_table(recipe, shard), embeddings_table(recipe, shard), *judges]


def _scorer_of_selected_pairs(storage: Storage) -> str | None:
    """The `scores/<generator>/<scorer>` that the selected pairs were chosen by; None where nothing says it."""
    made = storage.table_made_from(SELECTED)
    return f"scores/{made.generator}/{made.scorer}" if made and made.generator and made.scorer else None


def _measurements(recipes: Sequence[Recipe]) -> frozenset[str] | None:
    try:
        measures = [measure for recipe in recipes for measure in costly_measures(recipe.curation).values()]
    # A model that is not there, or an extra that is not installed.
    except SynthVLMError:
        return None
    return frozenset(f"{MEASUREMENTS}/{measure.name}-{measure.identity}" for measure in measures)


def _comparisons(storage: Storage, recipes: Sequence[Recipe]) -> set[str]:
    named = {dataset.name for recipe in recipes for dataset in recipe.comparisons}
    if not storage.has_table(SUMMARY):
        return named
    return named | set(storage.scan(SUMMARY).select("table").drop_nulls().collect()["table"])


def _folder(table: str) -> str:
    """The folder of all shards of a table, given by that of one."""
    return table.rpartition("/")[0]
