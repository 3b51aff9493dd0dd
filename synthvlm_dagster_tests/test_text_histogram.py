"""Text histograms: every value is counted once, on one axis."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.text_histogram import text_histogram


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1), st.lists(st.floats(-1, 1)), st.integers(1, 20))
def test_every_value_is_counted_once(first: list[float], second: list[float], bins: int) -> None:
    text = text_histogram({"one": pl.Series(first), "two": pl.Series(second, dtype=pl.Float64)}, bins)
    lines = text.split("\n")[2:-1]
    counts = [[int(word) for word in line.split() if word.isdecimal()] for line in lines]
    assert [sum(column) for column in zip(*counts, strict=True)] == [len(first), len(second)]


def test_bars_are_as_long_as_their_share_of_the_fullest_bin() -> None:
    lines = text_histogram({"images": pl.Series([0.0] * 8 + [1.0] * 4)}, bins=2).split("\n")
    assert lines[1].strip() == "images"
    assert [line.count("█") for line in lines[2:4]] == [24, 12]


def test_equal_values_make_one_bin() -> None:
    assert "3 ████" in text_histogram({"images": pl.Series([0.25, 0.25, 0.25])})


def test_no_values() -> None:
    assert text_histogram({"images": pl.Series([], dtype=pl.Float64)}) == "no values"
