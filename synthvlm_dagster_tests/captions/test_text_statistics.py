"""The statistics against Data-Juicer's recorded values, and against definitions written the plain way."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synthvlm_dagster
from synthvlm_dagster.captions.character_classes import (
    ALPHANUMERIC,
    IRREGULAR_LETTERS,
    SPECIAL,
    character_classes,
    lower_case,
    special_characters,
)
from synthvlm_dagster.captions.flagged_words import default_flagged_words
from synthvlm_dagster.captions.text_statistics import measure_captions
from synthvlm_dagster.recipe import CurationRules
from synthvlm_dagster_tests.captions.plain_statistics import measure_plainly, word_repetition, words

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
FLAGGED = ("a", "i̇b", "ας", "ασ", "two words", "ＳＥＸ", "g-spot", "\0", "\U00010437")
# Letters whose lower case has another length or depends on its neighbours, or that are special in one case only; white
# space that splits words and white space that does not; NUL, combining marks, scripts from the right, other planes,
# half surrogate pairs.
HOSTILE = (
    "ab ABİiIıΣσςΑα'.,-!\n\t\r\0\x0b\x85\xa0\u2028\u3000\ufeffГгⱮɪᲐⅧⓐßẞŉǅǰﬁⱯ߀½①²٣é\u0301\u200d\ufe0f"
    "م،ש中シ狗👍🏽🇫🫠\U00020000\U00010400\U00010437\U0010ffff\ud83d\ude00"
)
TEXTS = st.one_of(
    st.text(alphabet=st.sampled_from(HOSTILE), max_size=60),
    st.text(st.characters(), max_size=60),
    # Texts in which n-grams do occur more than once.
    st.text(alphabet=st.sampled_from("ab"), max_size=300),
    st.lists(st.sampled_from(["a", "B!", "İb", "ΑΣ", "ας", "g-spot", "中中"]), max_size=80).map(" ".join),
    st.builds(
        lambda text, times: text * times, st.text(alphabet=st.sampled_from(HOSTILE), max_size=30), st.integers(0, 9)
    ),
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
    ("template", "recorded"), [(None, "keep_synthvlm_text5"), (WRAPPING, "keep_synthvlm_text5_wrapped")]
)
def test_decisions_equal_data_juicers(template, recorded):
    cases = data_juicer("conformance_cases.json")["cases"]
    flagged = data_juicer("flagged_words.json")["en"]
    measured = measure_captions([case["text"] for case in cases], template, flagged_words=flagged)
    bounds = {name: getattr(CurationRules(), name) for name in OPERATORS}
    within = [
        pl.col(name).is_between(
            -math.inf if rule.min is None else rule.min, math.inf if rule.max is None else rule.max, closed="both"
        )
        for name, rule in bounds.items()
        if rule
    ]
    assert len(within) == 5
    assert measured.select(pl.all_horizontal(within)).to_series().to_list() == [case[recorded] for case in cases]


@needs_data_juicer
def test_the_plain_word_repetition_equals_data_juicers_for_other_lengths():
    for test in data_juicer("conformance_cases.json")["unit_tests"]:
        if test["op"] == "word_repetition_filter":
            found = [word_repetition(words(text), test["settings"]["rep_len"]) for text in test["texts"]]
            assert found == pytest.approx(test["stats"], abs=1e-9)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(TEXTS, max_size=6),
    st.sampled_from(["{caption}", WRAPPING, "{caption}Σ{caption}", "中{caption}İ"]),
    st.booleans(),
)
def test_statistics_equal_the_plain_ones_bit_for_bit(texts, template, bare_lengths):
    measured = measure_captions(texts, template, flagged_words=FLAGGED, bare_lengths=bare_lengths)
    assert measured.rows(named=True) == [
        measure_plainly(template.replace("{caption}", text), FLAGGED, text if bare_lengths else None) for text in texts
    ]


def test_very_long_texts_measure_as_the_plain_way_says():
    phrase = "The quick brown fox jumps over the lazy dog, then sleeps in the warm sun. "
    texts = [
        phrase * 700,
        "ab" * 30_000,
        "".join(map(chr, range(0x20, 0xD800))),
        "a " * 20_000,
        "中文" + phrase * 99,
        "Σ" * 9_999,
    ]
    for row, text in zip(measure_captions(texts, flagged_words=FLAGGED).rows(named=True), texts, strict=True):
        assert row == measure_plainly(text, FLAGGED)


def test_every_code_point_is_classed_and_lower_cased_as_python_does():
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    kinds, lowered = character_classes(), lower_case()
    assert (kinds & ALPHANUMERIC != 0).tolist() == [character.isalnum() for character in characters]
    assert {characters[code] for code in (kinds & SPECIAL).nonzero()[0]} == special_characters()
    for character, code in zip(characters, lowered.tolist(), strict=True):
        if character not in IRREGULAR_LETTERS:
            assert character.lower() == chr(code)
            # Texts with an irregular letter are lower-cased as a whole before their words are measured.
            assert chr(code).lower() == chr(code)


def test_captions_of_many_batches_stay_in_order():
    texts = pl.Series([f"caption {number} {'Σ' * (number % 3)}" for number in range(120_001)])
    measured = measure_captions(texts, flagged_words=["σ"])
    assert measured["text_length"].equals(texts.str.len_chars().cast(pl.Int64))
    assert measured["num_words"].to_list() == [1 + bool(number % 3) for number in range(120_001)]
    assert measured["flagged_words_ratio"].to_list() == [0.5 * (number % 3 == 1) for number in range(120_001)]


def test_a_part_of_a_column_measures_like_a_list_of_its_texts():
    column = pl.concat([pl.Series(["a dog", "x"]), pl.Series(["", "ΑΣ, a cat on a mat"])], rechunk=False)
    assert measure_captions(column[1:]).equals(measure_captions(["x", "", "ΑΣ, a cat on a mat"]))


def test_flagged_words_with_spaces_or_other_case_never_match():
    measured = measure_captions(["Two words FUCK g-spot."], flagged_words=["two words", "FUCK", "g-spot.", "g-spot"])
    assert measured["flagged_words_ratio"].to_list() == [0.25]


def test_a_null_among_the_texts_is_refused():
    with pytest.raises(ValueError, match="a text is null"):
        measure_captions(["a dog", None])
    with pytest.raises(ValueError, match="a text is null"):
        measure_captions(["half a pair: \ud83d", None])


@pytest.mark.parametrize("texts", ["a dog", iter(["a dog"]), None, [1, 2], pl.Series([1, 2]), pl.Series([b"a dog"])])
def test_what_is_no_list_of_texts_is_refused(texts):
    with pytest.raises(TypeError):
        measure_captions(texts)


def test_a_column_of_categories_measures_like_its_texts():
    texts = ["a dog", "ΑΣ", "a dog"]
    assert measure_captions(pl.Series(texts, dtype=pl.Categorical)).equals(measure_captions(texts))


def test_kernels_are_compiled_where_nothing_can_be_kept(tmp_path):
    package = Path(synthvlm_dagster.__file__).parent
    copy = tmp_path / "synthvlm_dagster"
    (copy / "captions").mkdir(parents=True)
    for name in (
        "__init__.py",
        "captions/__init__.py",
        "compiled.py",
        "captions/kernels.py",
        "captions/character_classes.py",
    ):
        shutil.copy(package / name, copy / name)
    # A file where numba would make a folder, for root may write anywhere.
    (copy / "captions" / "__pycache__").write_text("")
    (copy / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    code = """
import numpy as np
from synthvlm_dagster.captions.kernels import word_table
table = word_table(np.frombuffer("dogcat".encode("utf-32-le"), np.uint32), np.array([3, 6]))
assert sorted(table.slots[table.slots > 0].tolist()) == [1, 2]
"""
    home = str(tmp_path / "home")
    environment = {
        **os.environ,
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "IPYTHONDIR": home,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=120)


@settings(deadline=None)
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
