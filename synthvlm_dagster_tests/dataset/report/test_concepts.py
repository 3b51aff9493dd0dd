"""Words are counted once a caption, and listed when chance does not explain their number."""

import math
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.captions.tables import CURATED
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.report.concepts import Coverage, gather_coverage
from synthvlm_dagster.store.storage import Storage


def coverage(folder: Path | str, curated: Sequence[str], selected: Sequence[str]) -> Coverage | None:
    storage = Storage(str(folder))
    for table, texts in ((CURATED, curated), (SELECTED, selected)):
        storage.write_table(table, pl.DataFrame({"text": texts}, {"text": pl.String}))
    return gather_coverage(storage)


def test_what_the_selection_has_more_and_less_of(tmp_path: Path) -> None:
    dogs, cats = ["The DOG, a dog, and a red ball."] * 40, ["A cat with a red ball"] * 60
    found = coverage(tmp_path, [*dogs, *cats], [*dogs[:18], *cats[:2]])
    assert found is not None
    (dog,), (cat,) = found.more, found.less
    assert (dog.word, dog.curated, dog.selected, dog.expected, dog.ratio) == ("dog", 40, 18, 8.0, 2.25)
    assert (cat.word, cat.curated, cat.selected, cat.expected) == ("cat", 60, 2, 12.0)
    # Hypergeometric: n·p·(1−p)·(N−n)/(N−1).
    assert dog.z == pytest.approx(10 / math.sqrt(20 * 0.4 * 0.6 * 80 / 99))
    assert (found.words, found.present) == (4, 4), "dog, cat, red and ball; grammar does not count"


def test_a_lost_word_is_missed(tmp_path: Path) -> None:
    found = coverage(tmp_path, ["striped cloth"] * 50 + ["plain cloth"] * 50, ["plain cloth"] * 20)
    assert found is not None
    assert (found.words, found.present) == (3, 2)
    assert [(concept.word, concept.selected) for concept in found.less] == [("striped", 0)]


def test_words_of_any_script(tmp_path: Path) -> None:
    found = coverage(tmp_path, ["Čeština a ÉTÉ"] * 9 + ["été l'hiver"] * 9, ["été"] * 9)
    assert found is not None
    assert {concept.word for concept in found.less} == {"čeština", "l'hiver"}


def test_an_empty_selection_has_no_coverage(tmp_path: Path) -> None:
    assert coverage(tmp_path, ["a cat"], []) is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=30), st.data())
def test_any_captions_can_be_compared(texts: list[str], data: st.DataObject) -> None:
    selected = data.draw(st.lists(st.sampled_from(texts), min_size=1, max_size=len(texts), unique=True))
    found = coverage("memory://concepts", texts, selected)
    assert found is not None
    assert 0 <= found.present <= found.words
    for concept in (*found.more, *found.less):
        assert 0 <= concept.selected <= concept.curated
        assert math.isfinite(concept.z)
