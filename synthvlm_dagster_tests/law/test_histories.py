"""Ordinary days of work, each of which once left a dataset that was not what its recipe said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synthvlm_dagster_tests.law.edits import (
    CHOICES,
    AddCaption,
    ChangeCaption,
    CutFile,
    DeleteFile,
    DeleteFolder,
    Edit,
    ForgetHistory,
    MoveStorage,
    RemoveCaption,
    RunSome,
    RunWith,
    Set,
    Write,
)
from synthvlm_dagster_tests.law.history import EXPLORES, History

PAINTER = "models/painter/weights.safetensors"


def to(field: str, value: object) -> Set:
    """The edit that sets a field to one of its choices."""
    return Set(field, CHOICES[field].index(value))


IN_THE_SUITE = "one thing after another"
"""The history that the suite has time for; the others, each of one kind, are made where a profile explores."""

HISTORIES: dict[str, list[list[Edit]]] = {
    IN_THE_SUITE: [
        [to("generation.num_inference_steps", 3), RemoveCaption("main", 0), AddCaption("more", 15)],
        [to("generation.num_inference_steps", 2), Set("scoring.clip", 1), Write("words.txt", "both")],
        [Set("scoring.clip", 0), Write(PAINTER, "again"), to("attempts", {"until": 0.9, "max": 4, "budget": 2.5})],
        [Write(PAINTER, "first"), to("attempts", {"per_caption": 1}), ForgetHistory(), MoveStorage()],
        [RunWith("selected_pairs", (("count", 2),)), Set("exports.llava", 2), DeleteFile("dataset/webdataset", 1)],
    ],
    "another generator and scorer, and back": [
        [to("generation.num_inference_steps", 3)],
        [to("generation.num_inference_steps", 2), Set("scoring.clip", 1)],
        [Set("scoring.clip", 0)],
    ],
    "captions leave": [
        [RemoveCaption("main", 0), RemoveCaption("more", 1), AddCaption("main", 14)],
        [to("attempts", {"per_caption": 1})],
        [to("attempts", {"per_caption": 2, "max_captions": 4})],
        [to("attempts", {"per_caption": 2}), ChangeCaption("more", 2, 15), Set("curation.rules.num_words", 1)],
    ],
    "files change in place": [
        [Write("words.txt", "both")],
        [Write(PAINTER, "again")],
        [Write(PAINTER, "first"), Set("curation.rules.image_text_matching", 1)],
        [Write("models/blip/weights.safetensors", "again"), Set("comparisons", 1)],
        [Write("comparison/pairs.jsonl", "again"), Write("models/clip/weights.safetensors", "again")],
    ],
    "scores ask for more images, then for other ones, then for none": [
        [to("attempts", {"until": 0.9, "max": 4, "budget": 2.5}), to("generation.retries", 0)],
        [to("attempts", {"until": 0.9, "max": 3}), to("generation.retries", 2)],
        [to("attempts", {"per_caption": 1})],
    ],
    "things are lost": [
        [ForgetHistory(), MoveStorage()],
        [CutFile("images", 0), DeleteFile("dataset/llava", 1), DeleteFolder("captions/curated")],
        [ForgetHistory(), CutFile("scores", 1), DeleteFolder("dataset/selected")],
    ],
    "one run has settings of its own, and another makes a part": [
        [RunWith("selected_pairs", (("count", 2),)), RunSome("key:llava_dataset")],
        [RunWith("planned_attempts", (("per_caption", 3),)), RunSome("key:generated_images")],
        [to("seed", 8), RunSome("group:captions")],
    ],
    "exports are switched off, and on": [
        [Set("exports.llava", 2), Set("exports.huggingface", 2), RemoveCaption("main", 5)],
        [Set("exports.llava", 1), Set("exports.huggingface", 0), Set("selection", 6), Set("scoring.judges", 1)],
    ],
}


def _explored(name: str) -> Any:
    skipped = pytest.mark.skipif(not EXPLORES and name != IN_THE_SUITE, reason="HYPOTHESIS_PROFILE=explore asks for it")
    return pytest.param(name, marks=skipped)


@pytest.mark.hypothesis
@pytest.mark.skipif(not EXPLORES, reason="HYPOTHESIS_PROFILE=explore asks for it")
@pytest.mark.parametrize("field", CHOICES)
def test_each_value_of_a_field_by_itself_and_back(begin_history: Callable[[], History], field: str):
    history = begin_history()
    history.run()
    for number in [*range(1, len(CHOICES[field])), 0]:
        history.happen([Set(field, number)])
        history.run()
    history.project.close()


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", map(_explored, HISTORIES))
def test_what_stands_is_what_the_recipe_says(begin_history: Callable[[], History], name: str):
    history = begin_history()
    history.run()
    for edits in HISTORIES[name]:
        history.happen(edits)
        history.run()
    history.project.close()
