"""What was measured once is never measured again."""

import polars as pl
import pytest

from synthvlm_dagster.captions.measures import measurements
from synthvlm_dagster.captions.measures.measurements import MEASUREMENTS, MeasurementStore, measurement_keys
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.captions.measures.counting import VowelShare, vowel_share

TEXTS = ["a brown dog", "two cats", "a brown dog", "an old boat", "room 101"]


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path))


def captions(texts, images=None):
    images = images or [None] * len(texts)
    return pl.DataFrame({"text": texts, "image_uri": images}, schema={"text": pl.String, "image_uri": pl.String})


def values(storage, texts, measure):
    store = MeasurementStore(storage, measure)
    return store.values(captions(texts), print).to_list(), store


def test_values_come_in_the_order_of_the_captions(storage):
    found, store = values(storage, TEXTS, VowelShare())
    assert found == [None if "101" in text else vowel_share(text) for text in TEXTS]
    assert (store.measured, store.reused) == (3, 0)
    assert store.problems == {"it holds a digit": 1}
    assert store.spent == {"tokens": sum(map(len, {*TEXTS}))}


def test_only_what_is_new_is_measured_again(storage):
    values(storage, TEXTS, VowelShare())
    measure = VowelShare()
    found, store = values(storage, [*TEXTS, "a red sofa"], measure)
    assert measure.asked == ["room 101", "a red sofa"]
    assert found == [None if "101" in text else vowel_share(text) for text in [*TEXTS, "a red sofa"]]
    assert (store.measured, store.reused) == (1, 3)


def test_what_was_measured_before_a_failure_is_kept(storage):
    with pytest.raises(RuntimeError):
        values(storage, TEXTS, VowelShare(fails_after=2))
    measure = VowelShare()
    values(storage, TEXTS, measure)
    assert measure.asked == ["an old boat", "room 101"]


def test_each_value_is_stored_before_the_next_is_asked_for(storage):
    class Looking(VowelShare):
        def measure(self, captions, on_progress):
            for done, part in enumerate(super().measure(captions, on_progress)):
                files = storage.files(MEASUREMENTS)
                assert (storage.scan_files(files).collect().height if files else 0) == done
                yield part

    values(storage, ["a dog", "a cat", "a boat"], Looking())


def test_other_models_are_measured_anew(storage):
    values(storage, ["a dog"], VowelShare())
    other = VowelShare()
    other.identity = "other"
    values(storage, ["a dog"], other)
    assert other.asked == ["a dog"]


@pytest.mark.parametrize(("looks_at_images", "times"), [(True, 4), (False, 1)])
def test_other_images_are_measured_anew_where_they_matter(storage, looks_at_images, times):
    measure = VowelShare()
    measure.looks_at_images = looks_at_images
    for images in ([None, "one.jpg", "two.jpg"], ["one.jpg", "moved/one.jpg", "two.jpg"]):
        MeasurementStore(storage, measure).values(captions(["a dog"] * 3, images), print)
    assert len(measure.asked) == times


def test_keys_are_short_and_their_own():
    keys = measurement_keys(pl.Series(["a dog"] * 3), pl.Series([None, "one.jpg", "two.jpg"]))
    assert keys.n_unique() == 3
    assert keys.str.len_chars().to_list() == [16] * 3
    assert measurement_keys(pl.Series(["a dog"])).item() == keys[0]


def test_what_all_runs_spent_is_known(storage):
    _, first = values(storage, ["a dog", "room 101"], VowelShare())
    assert first.spent_so_far() == {"tokens": len("a dog")}
    _, second = values(storage, ["a dog", "two cats"], VowelShare())
    assert second.spent == {"tokens": len("two cats")}
    assert second.spent_so_far() == {"tokens": len("a dogtwo cats")}
    assert MeasurementStore(Storage(storage.url("empty")), VowelShare()).spent_so_far() == {"tokens": 0}


def test_many_small_files_become_one(storage, monkeypatch):
    monkeypatch.setattr(measurements, "_MOST_CHUNKS", 5)
    texts = [f"a dog {'x' * length}" for length in range(23)]
    found, _ = values(storage, texts, VowelShare())
    assert len(storage.files(MEASUREMENTS)) <= 6
    measure = VowelShare()
    assert values(storage, texts, measure)[0] == found
    assert measure.asked == []
    assert len(storage.files(MEASUREMENTS)) == 1


def test_values_that_stand_in_two_files_count_once(storage):
    values(storage, ["a dog", "a cat"], VowelShare())
    file = storage.files(MEASUREMENTS)[0]
    rows = storage.scan_files([file]).collect()
    storage.write_chunk(file.rsplit("/", 1)[0], "chunk-left-by-a-kill.parquet", rows)
    measure = VowelShare()
    assert values(storage, ["a dog", "a cat"], measure)[0] == [vowel_share("a dog"), vowel_share("a cat")]
    assert measure.asked == []
