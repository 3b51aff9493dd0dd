"""The statistics against Data-Juicer's recorded values, and against definitions written the plain way."""

import json
from collections import Counter
from math import isqrt
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.captions.curate import curate_captions
from synthvlm_dagster.captions.flagged_words import default_flagged_words
from synthvlm_dagster.captions.rules import (
    STATISTICS,
    character_repetition,
    measure_captions,
    measure_lengths,
    special_characters,
    word_repetition,
)
from synthvlm_dagster.recipe import Curation, CurationRules
from synthvlm_dagster_tests.captions.raw import SHARDS, raw_table

DATA_JUICER = Path(__file__).parents[3] / "shared" / "data" / "data_juicer"
needs_data_juicer = pytest.mark.skipif(
    not DATA_JUICER.is_dir(), reason="needs Data-Juicer's recorded values in ../shared/data/data_juicer"
)
OPERATORS = {
    "alnum_ratio": "alphanumeric_filter",
    "special_char_ratio": "special_characters_filter",
    "char_rep_ratio": "character_repetition_filter",
    "word_rep_ratio": "word_repetition_filter",
    "flagged_words_ratio": "flagged_words_filter",
    "text_length": "text_length_filter",
    "num_words": "words_num_filter",
}
WRAPPING = "<image>\n{caption} <|__dj__eoc|>"
# Letters whose lower case has another length or is a special character, final sigma, surrogate-pair code points.
TEXTS = (
    st.text(alphabet=st.sampled_from("ab ABİΣσςⱯⅮ߀½①👍🏽é\u0301\n\t\u3000.,-!1٣\U00020000"), max_size=60) | st.text()
)


def data_juicer(name):
    return json.loads((DATA_JUICER / name).read_text(encoding="utf-8"))


@needs_data_juicer
def test_special_characters_are_data_juicers():
    assert special_characters() == set(data_juicer("special_characters.json"))


def test_there_are_1618_special_characters():
    assert len(special_characters()) == 1618
    assert set("!~09 \n\t😊、") <= special_characters()
    assert not set("azAZéß中") & special_characters()


@needs_data_juicer
@pytest.mark.parametrize(("template", "recorded"), [(None, "stats"), (WRAPPING, "stats_wrapped")])
def test_statistics_equal_data_juicers(template, recorded):
    cases = data_juicer("conformance_cases.json")["cases"]
    flagged = data_juicer("flagged_words.json")["en"]
    measured = measure_captions([case["text"] for case in cases], template, flagged_words=flagged)
    assert measured.height == len(cases)
    for case, row in zip(cases, measured.iter_rows(named=True), strict=True):
        expected = {name: case[recorded][operator] for name, operator in OPERATORS.items()}
        assert row == pytest.approx(expected, abs=1e-9), f"case {case['id']}: {case['text']!r}"


@needs_data_juicer
@pytest.mark.parametrize(
    ("template", "recorded"), [("{caption}", "keep_synthvlm_text5"), (WRAPPING, "keep_synthvlm_text5_wrapped")]
)
def test_decisions_equal_data_juicers(template, recorded):
    cases = [case for case in data_juicer("conformance_cases.json")["cases"] if case["text"].strip()]
    curation = Curation(
        text_template=template, flagged_words=str(DATA_JUICER / "flagged_words.json"), rules=CurationRules(duplicates=None)
    )
    raw = raw_table([case["text"] for case in cases]).with_columns(source_row=pl.Series([case["id"] for case in cases]))
    curated, rejected = curate_captions(raw, curation, SHARDS)
    assert set(rejected["rejected_by"]) <= set(OPERATORS)
    assert curated["source_row"].to_list() == [case["id"] for case in cases if case[recorded]]


@needs_data_juicer
def test_repetitions_equal_data_juicers_for_other_lengths():
    for test in data_juicer("conformance_cases.json")["unit_tests"]:
        if test["op"] == "word_repetition_filter":
            words = [text.lower().split() for text in test["texts"]]
            words = [[word.strip("".join(special_characters())) for word in text] for text in words]
            found = [word_repetition(text, test["settings"]["rep_len"]) for text in words]
            assert found == pytest.approx(test["stats"], abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_statistics_equal_their_definitions(text):
    special = special_characters()
    words = [part.lower() for part in text.replace("\n", " ").replace("\t", " ").split(" ")]
    words = [word for word in (word.strip("".join(special)) for word in words) if word]
    length = max(len(text), 1)
    row = measure_captions([text], flagged_words=["a", "b"]).row(0, named=True)
    assert list(row) == list(STATISTICS)
    assert row["text_length"] == len(text)
    assert row["alnum_ratio"] == sum(sign.isalnum() for sign in text) / length
    assert row["special_char_ratio"] == sum(sign in special for sign in text) / length
    assert row["flagged_words_ratio"] == sum(word in ("a", "b") for word in words) / max(len(words), 1)
    assert row["char_rep_ratio"] == character_repetition(text)
    assert row["word_rep_ratio"] == word_repetition(words)
    assert measure_lengths([text]).row(0) == (row["text_length"], row["num_words"])


@given(st.text(alphabet="abc ", max_size=80), st.integers(1, 12))
def test_character_repetition_equals_its_definition(text, n):
    frequencies = Counter(text[start : start + n] for start in range(len(text) - n + 1))
    counts = sorted(frequencies.values())
    most = min(isqrt(len(counts)), sum(count > 1 for count in counts))
    expected = sum(counts[len(counts) - most :]) / sum(counts) if counts else 0
    assert character_repetition(text, n) == expected


@given(st.lists(TEXTS, max_size=8))
def test_a_caption_measures_the_same_alone_and_among_others(texts):
    together = measure_captions(texts, WRAPPING)
    assert together.rows() == [measure_captions([text], WRAPPING).row(0) for text in texts]


def test_a_wrapped_caption_measures_like_the_wrapped_text():
    captions = ["a dog", "", "the place is {caption}"]
    wrapped = [f"({caption}) {caption}!" for caption in captions]
    assert measure_captions(captions, "({caption}) {caption}!").equals(measure_captions(wrapped))


def test_a_template_without_a_place_for_the_caption_is_refused():
    with pytest.raises(ValueError, match=r"does not contain \{caption\}"):
        measure_captions(["a dog"], "<image>")


def test_no_captions_measure_to_an_empty_table_of_the_same_columns():
    assert measure_captions([]).schema == measure_captions(["a"]).schema


def test_the_built_in_list_flags_profanity_and_leaves_plain_captions():
    assert {"fuck", "asshole"} <= default_flagged_words()
    measured = measure_captions(["What the FUCK!", "a dog on a slope beside a pot"])
    assert measured["flagged_words_ratio"].to_list() == [pytest.approx(1 / 3), 0.0]
