"""Which captions count as the same."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.captions.duplicates import normalized


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
