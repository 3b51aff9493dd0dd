"""What selection gained, on verdicts that are given."""

import numpy as np
import polars as pl
import pytest

from synthvlm_dagster.demo.selection_gain import gain_over_random


def verdicts(right: np.ndarray) -> pl.DataFrame:
    """One row per image, of captions with the attempts in a row of `right`."""
    rows = [(f"{c:03d}-{a:02d}", f"{c:03d}", bool(value)) for (c, a), value in np.ndenumerate(right)]
    return pl.DataFrame(rows, schema=["image_id", "caption_id", "right"], orient="row")


def test_choosing_by_the_truth_gains_what_can_be_gained() -> None:
    right = np.random.default_rng(0).random((100, 4)) < 0.4
    best = pl.Series([f"{caption:03d}-{row.argmax():02d}" for caption, row in enumerate(right)])
    gain = gain_over_random(verdicts(right), best)
    assert gain.images == 100
    assert gain.right == pytest.approx(right.any(axis=1).mean())
    assert gain.random == pytest.approx(right.mean())
    assert 0 < gain.low < gain.gain < gain.high
    assert str(gain).startswith(f"{100 * gain.right:.1f} % of 100 are right")


def test_choosing_blindly_gains_nothing_certain() -> None:
    right = np.random.default_rng(1).random((400, 4)) < 0.5
    chosen = pl.Series([f"{caption:03d}-00" for caption in range(0, 400, 5)])
    gain = gain_over_random(verdicts(right), chosen)
    assert gain.images == 80
    assert gain.low < 0 < gain.high
