"""The best attempt of each caption, by any merit."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.dataset.best_attempts import MERIT, best_attempts

images = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 9), st.sampled_from([-1.0, -0.0, 0.0, 1.0])),
    unique_by=lambda image: image[:2],
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(images, st.sampled_from(["in-memory", "streaming"]))
def test_of_equals_the_first_image_id_counts(drawn: list[tuple[int, int, float]], engine: str) -> None:
    rows = [
        {"image_id": f"{caption}-{attempt}", "caption_id": str(caption), MERIT: merit, "other": number}
        for number, (caption, attempt, merit) in enumerate(drawn)
    ]
    expected = {}
    for row in sorted(rows, key=lambda row: (-row[MERIT], row["image_id"])):
        expected.setdefault(row["caption_id"], row)
    schema = {"image_id": pl.String, "caption_id": pl.String, MERIT: pl.Float64, "other": pl.Int64}
    found = best_attempts(pl.LazyFrame(rows, schema=schema)).collect(engine=engine)
    assert sorted(found.to_dicts(), key=str) == sorted(expected.values(), key=str)
