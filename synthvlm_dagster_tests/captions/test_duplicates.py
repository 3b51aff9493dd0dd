"""Which captions count as the same."""

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.captions.duplicates import duplicate_keys, normalized

ASCII_TEXT = st.text(st.characters(max_codepoint=127))


def folded_one_character_at_a_time(text):
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kinds = ((character, unicodedata.category(character)) for character in folded)
    spaced = (" " if kind[0] in "PZ" or kind == "Cc" else character for character, kind in kinds if kind != "Cf")
    return " ".join(part for part in "".join(spaced).split(" ") if part) or text


def normal(text):
    return normalized(pl.Series([text])).item()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A dog on a beach.", "a dog  on a beach"),
        ("A dog, on a\nbeach!", " a dog on a beach "),
        ("a red-brown dog", "a red brown dog"),
        ("Straße", "STRASSE"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("cafe\u0301", "café"),
        ("a\u200bdog", "adog"),
        ("ﬁsh", "fish"),
    ],
)
def test_same(one, other):
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a dog", "a dogs"),
        ("two dogs 😊", "two dogs 😢"),
        ("5 + 5", "5 5"),
        ("!!!", "..."),
        ("की", "का"),
    ],
)
def test_different(one, other):
    assert normal(one) != normal(other)


@given(st.text())
def test_folding_what_is_folded_changes_nothing(text):
    assert normal(normal(text)) == normal(text)


@given(st.lists(ASCII_TEXT | st.text(st.sampled_from("aB .,-\n\t$éßİΣﬁ…“”　\u0301\u200b"))))
def test_plain_and_other_texts_are_folded_alike(texts):
    assert normalized(pl.Series(texts, dtype=pl.String)).to_list() == [
        folded_one_character_at_a_time(text) for text in texts
    ]


@given(st.lists(st.sampled_from(["A dog.", "a  dog", "a cat", "", "!!!", "...", "Straße", "STRASSE", "İ"])))
def test_keys_are_equal_where_captions_are(texts):
    captions = pl.Series(texts, dtype=pl.String)
    keys, same = duplicate_keys(captions), normalized(captions)
    assert keys.dtype == pl.UInt64
    for key, caption in zip(keys, same, strict=True):
        assert (keys == key).to_list() == (same == caption).to_list()


def test_keys_do_not_depend_on_what_else_is_hashed():
    captions = pl.Series(["a dog", "Ein großer Hund", "a cat"])
    assert duplicate_keys(captions).to_list() == [duplicate_keys(captions[i : i + 1]).item() for i in range(3)]
