"""What the recipe would make every table and export from, today; and why one that stands is not that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import polars as pl

from synthvlm_dagster.attempts.state import State
from synthvlm_dagster.captions.made_from import curation_made_from, raw_captions_made_from_today
from synthvlm_dagster.captions.tables import CURATED, KEPT_BY_TEMPLATE, RAW, REJECTED
from synthvlm_dagster.dataset.exports.card import CARD, CARD_FOLDER
from synthvlm_dagster.dataset.exports.export import Export
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.dataset.made_with import recipe_as_made
from synthvlm_dagster.dataset.pairs import SELECTED, SET_ASIDE
from synthvlm_dagster.dataset.report.page import FOLDER as REPORT
from synthvlm_dagster.dataset.settings import (
    CARD_CODE,
    REPORT_CODE,
    SELECTION_CODE,
    card_settings,
    report_settings,
    selection_settings,
)
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.damage import damage_set_aside
from synthvlm_dagster.images.made_from import plan_made_from
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.plan import PLAN_TABLE
from synthvlm_dagster.orchestration.one_run import changes, recipe_of_table
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.made_from import judges_contents, references_made_from
from synthvlm_dagster.scores.naming import scorer_name
from synthvlm_dagster.scores.references import SUMMARY, pictures_of_references, with_pictures
from synthvlm_dagster.store.failed_checks import why_refused, why_unchecked
from synthvlm_dagster.store.made_from import MadeFrom, in_words
from synthvlm_dagster.store.rows_version import rows_version
from synthvlm_dagster.store.storage import WHOLE_TABLE, Storage

PLACES = {
    "raw_captions": RAW,
    "curated_captions": CURATED,
    "rejected_captions": REJECTED,
    "planned_attempts": PLAN_TABLE,
    "selected_pairs": SELECTED,
    "reference_scores": SUMMARY,
    "dataset_card": CARD_FOLDER,
    "quality_report": REPORT,
    **{export.asset: export.folder for export in all_exports()},
}
"""Where each asset without partitions stands in the store."""

_WRITTEN_WITH = {"curated_captions": KEPT_BY_TEMPLATE, "selected_pairs": SET_ASIDE}
"""A second table of an asset. It is replaced before the asset's own, with the same record: the two are of one making
where both records are, and after a kill in between one of them is not."""


class Origins:
    """What the recipe would make its tables from: one look at the store, in which nothing is looked up twice.

    Args:
        recipe: what to build.
        storage: the recipe's store.
        one_run: settings that the recipe has for one run alone.
    """

    def __init__(self, recipe: Recipe, storage: Storage, one_run: dict[str, Any] | None = None) -> None:
        self._one_run = one_run or {}
        self._recipe = recipe
        self._storage = storage
        self._of: dict[str, Callable[[], MadeFrom]] = {
            "raw_captions": lambda: raw_captions_made_from_today(recipe, storage),
            "curated_captions": lambda: curation_made_from(recipe, storage),
            "rejected_captions": lambda: curation_made_from(recipe, storage),
            "planned_attempts": lambda: plan_made_from(recipe, self._version("curated_captions")),
            "selected_pairs": self._selection,
            "reference_scores": self._references,
            "dataset_card": self._card,
            "quality_report": self._report,
            **{export.asset: partial(self._export, export) for export in all_exports()},
        }

    def of(self, asset: str) -> MadeFrom:
        """What an asset without partitions would be made from; its version is empty.

        Args:
            asset: a name in `PLACES`.

        Raises:
            CaptionSourceError: the files of a source are not there.
            RecipeError: the list of flagged words cannot be read.
            ModelError: a model is written as a path, and nothing is there.
            StorageError: the store cannot be reached, or a table that it would be made of is damaged.
        """
        return self._of[asset]()

    def why_outdated(self, asset: str) -> str | None:
        """Why an asset without partitions is not what the recipe would make of today's inputs; None when it is.

        Args:
            asset: a name in `PLACES`.

        Raises:
            CaptionSourceError, RecipeError, ModelError, StorageError: as `of`.
        """
        storage, place = self._storage, PLACES[asset]
        return self.why_to_be_written(asset) or why_unchecked(storage, place)

    def why_to_be_written(self, asset: str) -> str | None:
        """As `why_outdated`, of what cannot be mended by asking its checks."""
        try:
            return self._why_to_be_written(asset)
        except StorageError as error:
            # Damage shows in one table, and this one is made again after it; a store out of reach, in all.
            self._storage.files(PLACES[asset])
            return f"cannot be compared: {error}"

    def _why_to_be_written(self, asset: str) -> str | None:
        place, storage = PLACES[asset], self._storage
        made = storage.made_from(place)
        if made is None:
            return "nothing says what it was made from" if storage.files(place) else "not made yet"
        if set_for_one_run := changes(self._recipe, recipe_of_table(self._recipe, storage, place)):
            return f"made with {', '.join(map(str, set_for_one_run))}, set for one run; now as the recipe says"
        expected = self.of(asset)
        if differences := made.differences(expected):
            return in_words(differences)
        if refused := why_refused(storage, place):
            return refused
        if second := _WRITTEN_WITH.get(asset):
            made_beside = storage.table_made_from(second)
            if made_beside is None:
                return f"{second}, which belongs to it, is gone"
            if made_beside.differences(expected):
                return f"{second}, which belongs to it, is of another making"
        if not storage.exists(f"{place}/{WHOLE_TABLE}") and not storage.folder_is_as_written(place, made):
            return "a file of it has been added, changed or deleted"
        return None

    def why_not_of_recipe(self) -> str | None:
        """Why the selected pairs are not of the recipe's plan, generator and scorer; None when they are.

        Settings of the selection alone, as one run may have its own, are not looked at.

        Raises:
            StorageError: the selected pairs are damaged, or the store cannot be reached.
        """
        made, expected = self._storage.table_made_from(SELECTED), self.of("selected_pairs")
        if made is None:
            return "nothing says what they were made from"
        return in_words(made.differences(expected.model_copy(update={"settings": made.settings}))) or None

    def _selection(self) -> MadeFrom:
        recipe = self._recipe
        return MadeFrom(
            code=SELECTION_CODE,
            settings=selection_settings(recipe),
            inputs={"planned_attempts": self._version("planned_attempts"), "image_scores": self._scores},
            contents=judges_contents(recipe),
            generator=generator_name(recipe),
            scorer=scorer_name(recipe),
            one_run=self._one_run,
        )

    def _export(self, export: Export) -> MadeFrom:
        """Of the pairs, and of their images, which the generator's name tells apart; some of the card's text, too."""
        storage, settings = self._storage, export.settings(self._recipe)
        inputs = {"selected_pairs": self._version("selected_pairs")}
        if "dataset_card" in export.made_of:
            inputs["dataset_card"] = fingerprint(storage.read_bytes(CARD).decode()) if storage.exists(CARD) else ""
        return MadeFrom(code=export.code, settings=settings, inputs=inputs, generator=generator_name(self._recipe))

    def _references(self) -> MadeFrom:
        recipe = self._as_made
        return with_pictures(references_made_from(recipe), pictures_of_references(recipe, self._storage))

    def _card(self) -> MadeFrom:
        return self._of_everything(CARD_CODE, card_settings(self._as_made))

    def _report(self) -> MadeFrom:
        inputs = {"kept_by_template": self._storage.version(KEPT_BY_TEMPLATE)}
        if self._recipe.comparisons:
            inputs["reference_scores"] = self._version("reference_scores")
        return self._of_everything(REPORT_CODE, report_settings(self._as_made), **inputs)

    def _of_everything(self, code: int, settings: dict[str, Any], **inputs: str) -> MadeFrom:
        """The record of a page that tells of every step."""
        recipe = self._recipe
        tables = ("raw_captions", "curated_captions", "rejected_captions", "planned_attempts", "selected_pairs")
        set_for_one_run = [str(change) for change in changes(recipe, self._as_made)]
        return MadeFrom(
            code=code,
            settings=settings | ({"set_for_one_run": set_for_one_run} if set_for_one_run else {}),
            inputs={
                **{name: self._version(name) for name in tables},
                "set_aside": self._storage.version(SET_ASIDE),
                "generated_images": self._images,
                "image_scores": self._scores,
                **inputs,
            },
            contents=judges_contents(recipe),
            generator=generator_name(recipe),
            scorer=scorer_name(recipe),
        )

    def _version(self, asset: str) -> str:
        return self._storage.version(PLACES[asset])

    @cached_property
    def _as_made(self) -> Recipe:
        return recipe_as_made(self._recipe, self._storage)

    @cached_property
    def _state(self) -> State | None:
        """Of all shards; None where nothing is planned."""
        return State.read(self._recipe, self._storage) if self._version("planned_attempts") else None

    @cached_property
    def _scores(self) -> str:
        """Version of all scores: which generator, scorer and judges, and which planned images each has measured."""
        if self._state is None:
            return ""
        measured = self._state.measured.scores(self._state.images).drop("clip_score", "ssim").sort("image_id")
        judged = measured.with_columns(pl.col(self._recipe.scoring.judges.columns).is_not_null())
        judges = judges_contents(self._recipe)
        return fingerprint(generator_name(self._recipe), scorer_name(self._recipe), judges, rows_version(judged))

    @cached_property
    def _images(self) -> str:
        """Version of all images: which generator, which planned images are there, and which could not be made."""
        if self._state is None:
            return ""
        images = self._state.images
        ids = (rows.select("image_id", "shard").sort("image_id") for rows in (images.present, images.failed))
        return fingerprint(generator_name(self._recipe), [rows_version(rows) for rows in ids])


def why_outdated(asset: str, recipe: Recipe, storage: Storage) -> str | None:
    """As `Origins.why_outdated`, of one look."""
    return Origins(recipe, storage).why_outdated(asset)


@contextmanager
def recorded_pairs(
    asset: str, recipe: Recipe, storage: Storage, on_damage: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Record what an export, the card or the report is made from that the block writes.

    Files of images that the block cannot decode are set aside, so that the next run makes them again.

    Args:
        asset: its name in `PLACES`.
        recipe: what is built.
        storage: the recipe's store.
        on_damage: told of each file that is set aside.

    Raises:
        StorageError: the selected pairs are not of the recipe's plan, generator and scorer, or are not there, or a
            check refused them; says what to do.
    """
    origins = Origins(recipe, storage)
    if storage.has_table(SELECTED) and (reason := origins.why_not_of_recipe()):
        raise StorageError(
            f"{storage.url(SELECTED)}: the selected pairs are not those of the recipe as it is: {reason}. "
            f"Materialize selected_pairs before {asset}, or run `synthvlm run`, which does"
        )
    if refused := why_refused(storage, SELECTED):
        raise StorageError(
            f"{storage.url(SELECTED)}: nothing is made of the selected pairs: {refused}. Run `synthvlm run`, which "
            f"makes them again before {asset}"
        )
    with (
        damage_set_aside(recipe, storage, on_damage),
        storage.recorded_folder(PLACES[asset], origins.of(asset)),
    ):
        yield
