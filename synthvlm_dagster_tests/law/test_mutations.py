"""Each mistake that the law guards against is made again here, and must be caught.

Takes minutes, and says something of the tests alone: made where HYPOTHESIS_PROFILE=explore asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import polars as pl
import pytest

from synthvlm_dagster import contents, fingerprint
from synthvlm_dagster.attempts import plan as attempts_plan
from synthvlm_dagster.captions import made_from as captions_made_from
from synthvlm_dagster.dataset import made_from as dataset_made_from
from synthvlm_dagster.dataset import pairs
from synthvlm_dagster.dataset.made_from import Origins
from synthvlm_dagster.images import naming, state
from synthvlm_dagster.operations import run
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores import naming as scores_naming
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.law.edits import (
    AddCaption,
    ChangeByte,
    Edit,
    ForgetHistory,
    RemoveCaption,
    RunWith,
    Set,
    Write,
)
from synthvlm_dagster_tests.law.history import EXPLORES, History, LawBrokenError
from synthvlm_dagster_tests.law.test_histories import PAINTER, to

pytestmark = [
    pytest.mark.hypothesis,
    pytest.mark.skipif(not EXPLORES, reason="HYPOTHESIS_PROFILE=explore asks for it"),
]


class Mutation(NamedTuple):
    """A mistake, and a history that shows it."""

    make: Callable[[pytest.MonkeyPatch], None]
    history: list[list[Edit]]


def _settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MadeFrom.differences

    def differences(self: MadeFrom, expected: MadeFrom) -> list[str]:
        return real(self, self.model_copy(update={"settings": expected.settings, "code": expected.code}))

    monkeypatch.setattr(MadeFrom, "differences", differences)


def _without_inputs(*names: str) -> Callable[[pytest.MonkeyPatch], None]:
    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        real = Origins.of

        def of(self: Origins, asset: str) -> MadeFrom:
            record = real(self, asset)
            return record.model_copy(
                update={"inputs": {name: version for name, version in record.inputs.items() if name not in names}}
            )

        monkeypatch.setattr(Origins, "of", of)

    return mutate


def _paths_for_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "content_of", str)
    for module in (captions_made_from, fingerprint):
        monkeypatch.setattr(module, "content_of", str)


def _any_generators_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(recipe: Recipe, storage: Storage, plan: pl.DataFrame, shard: str) -> state.PlannedImages:
        images = state.PlannedImages.read(recipe, storage, plan, shard)
        for folder in sorted({path.split("/")[1] for path in storage.files("images")}):
            others = state.rows_by_shard(storage, f"images/{folder}/{shard}", state._MADE)
            if folder != naming.generator_name(recipe):
                images._stored = pl.concat([others, images._stored])
        return images

    monkeypatch.setattr(pairs, "PlannedImages", SimpleNamespace(read=read))


def _one_scorer_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    real = scores_naming.scores_table

    def scores_table(recipe: Any, shard: str | None = None) -> str:
        clip = recipe.scoring.clip.model_copy(update={"prompt_prefix": ""})
        return real(recipe.model_copy(update={"scoring": recipe.scoring.model_copy(update={"clip": clip})}), shard)

    from synthvlm_dagster.scores import state as scores_state
    from synthvlm_dagster.scores import table

    for module in (scores_naming, scores_state, table, attempts_plan):
        if hasattr(module, "scores_table"):
            monkeypatch.setattr(module, "scores_table", scores_table)


def _every_try_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = state._sorted_out
    monkeypatch.setattr(state, "_sorted_out", lambda plan, stored, tried, _: real(plan, stored, tried, 9))


def _as_the_files_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_file(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        yield from batches

    monkeypatch.setattr(pairs, "_by_image_id", by_file)


def _files_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "folder_is_as_written", lambda *_: True)


def _settings_of_one_run_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Origins.of

    def of(self: Origins, asset: str) -> MadeFrom:
        standing = self._storage.made_from(dataset_made_from.PLACES[asset])
        record = real(self, asset)
        return record.model_copy(update={"settings": standing.settings}) if standing and standing.one_run else record

    monkeypatch.setattr(Origins, "of", of)
    monkeypatch.setattr(dataset_made_from, "changes", lambda *_: ())


def _nothing_is_recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "record_table", lambda *_: False)
    monkeypatch.setattr(run, "record_shards", lambda *_: [])


_STEPS_AND_BACK = [[to("generation.num_inference_steps", 3)], [to("generation.num_inference_steps", 2)]]
_PREFIX_AND_BACK: list[list[Edit]] = [[Set("scoring.clip", 1)], [Set("scoring.clip", 0)]]

MUTATIONS: dict[str, Mutation] = {
    "what it was made of does not count, generator": Mutation(_settings_alone, _STEPS_AND_BACK),
    "what it was made of does not count, scorer": Mutation(_settings_alone, _PREFIX_AND_BACK),
    "what it was made of does not count, captions": Mutation(_settings_alone, [[RemoveCaption("main", 0)]]),
    "the selection is not made of the plan": Mutation(
        _without_inputs("planned_attempts", "image_scores"), [[to("attempts", {"per_caption": 1})]]
    ),
    "an export is not made of the pairs": Mutation(
        _without_inputs("selected_pairs"), [[to("attempts", {"per_caption": 2, "max_captions": 4})]]
    ),
    "a path stands for the word list": Mutation(_paths_for_contents, [[Write("words.txt", "both")]]),
    "a path stands for the model": Mutation(_paths_for_contents, [[Write(PAINTER, "again")]]),
    "a path stands for the caption file": Mutation(_paths_for_contents, [[AddCaption("more", 15)]]),
    "an export holds another generator's images": Mutation(_any_generators_images, _STEPS_AND_BACK),
    "a scorer takes another one's scores": Mutation(_one_scorer_for_all, _PREFIX_AND_BACK),
    "images of tries that are not allowed count": Mutation(_every_try_counts, [[to("generation.retries", 0)]]),
    "exports stand as the files came": Mutation(_as_the_files_come, [[AddCaption("main", 14), AddCaption("main", 20)]]),
    "an export's files are not looked at": Mutation(_files_are_not_looked_at, [[ChangeByte("dataset/card", 1)]]),
    "what was set for one run stays": Mutation(
        _settings_of_one_run_stay, [[RunWith("selected_pairs", (("count", 2),))]]
    ),
    "Dagster is not told what stands": Mutation(_nothing_is_recorded_again, [[ForgetHistory()]]),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_is_caught(begin_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch, name: str):
    mutation = MUTATIONS[name]
    # Without the mistake all is well; and what is fresh has been made without it.
    _play(begin_history(), mutation.history)
    mutation.make(monkeypatch)
    with pytest.raises(LawBrokenError):
        _play(begin_history(), mutation.history)


def _play(history: History, batches: list[list[Edit]]) -> None:
    try:
        history.run()
        for edits in batches:
            history.happen(edits)
            history.run()
    finally:
        history.project.close()
