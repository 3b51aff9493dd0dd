"""The version of a shard's scores, and what the recipe would make the scores of other datasets from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.captions.made_from import image_folder, source_content
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.recipe import ComparisonDataset, Recipe
from synthvlm_dagster.recipe.plain import plain_settings
from synthvlm_dagster.scores.naming import judge_table, reduced_size, scorer_name
from synthvlm_dagster.store.made_from import MadeFrom

if TYPE_CHECKING:
    import polars as pl

REFERENCES_CODE = 2


def scores_of_shard_version(tables: Mapping[str, str], shard: str, image_ids: pl.Series) -> str:
    """Version of a shard's scores, of which `image_ids` are planned and measured.

    Args:
        tables: of the shard or of all, as those of `Measurements`.
        shard: partition key.
        image_ids: String.
    """
    from synthvlm_dagster.scores.measuring import EMBEDDINGS

    by = (table.removesuffix(f"/{shard}") for name, table in tables.items() if name != EMBEDDINGS)
    return fingerprint(*by, shard, image_ids.sort().to_list())


def judges_contents(recipe: Recipe) -> dict[str, str]:
    """The names of the judges' tables, which tell their models and settings, by the recipe's field.

    Raises:
        ModelError: a judge's model is written as a path, and nothing is there.
    """
    judges = recipe.scoring.judges.configured
    return {f"scoring.judges.{judge}": judge_table(recipe, judge).rpartition("/")[2] for judge in judges}


def references_made_from(recipe: Recipe) -> MadeFrom:
    """What the scores of other datasets are made from.

    Args:
        recipe: as the selected pairs were made with it, whose λ the weighted score has.

    Raises:
        ModelError: the CLIP model is written as a path, and nothing is there.
    """
    return MadeFrom(
        code=REFERENCES_CODE,
        settings=references_settings(recipe),
        contents=dict(_contents(recipe.comparisons)),
        scorer=scorer_name(recipe),
    )


def references_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the scores of other datasets, but for what files and models hold."""
    return {
        "comparisons": [plain_settings(dataset) for dataset in recipe.comparisons],
        "seed": recipe.seed,
        "selection": {"ssim_weight": recipe.selection.ssim_weight},
        "scoring": {"ssim": {"reduced_size": reduced_size(recipe)}},
    }


def _contents(datasets: Iterable[ComparisonDataset]) -> Iterable[tuple[str, str]]:
    for dataset in datasets:
        field = f"comparisons.{dataset.name}"
        try:
            # The sample is drawn by the places of the images.
            yield field, f"{source_content(dataset)} in {image_folder(dataset)}"
        except CaptionSourceError as error:
            # It is left out, with this reason.
            yield field, f"{dataset.name}#{fingerprint(str(error))}"
