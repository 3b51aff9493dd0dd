"""What adaptive attempts saved, told from their scores alone, beside the truth of a table in which all were made."""

import numpy as np
import polars as pl
import pytest

from synthvlm_dagster.dataset.attempt_savings import attempt_savings


def table(scores: np.ndarray, made: np.ndarray) -> pl.DataFrame:
    """The first `made[c]` scores of each caption c of `scores`, shape (captions, attempts)."""
    captions, attempts = np.nonzero(np.arange(scores.shape[1]) < made[:, None])
    return pl.DataFrame(
        {
            "caption_id": [f"{number:016x}" for number in captions],
            "attempt": attempts,
            "weighted_score": scores[captions, attempts],
        }
    )


def made_until(scores: np.ndarray, bar: float) -> np.ndarray:
    """How many attempts each caption takes to reach the bar, all of them when it never does."""
    reached = scores >= bar
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, scores.shape[1])


def test_a_fixed_number_saves_nothing_against_itself():
    scores = np.random.default_rng(0).random((50, 3))
    savings = attempt_savings(table(scores, np.full(50, 3)))
    assert savings.fixed_attempts == pytest.approx(3)
    assert savings.mean_best_score == pytest.approx(scores.max(axis=1).mean())
    assert (savings.captions, savings.images, savings.saved) == (50, 150, 0)


def test_one_image_each_needs_no_comparison():
    savings = attempt_savings(table(np.random.default_rng(0).random((50, 1)), np.ones(50, int)))
    assert (savings.fixed_attempts, savings.saved) == (1, 0)
    assert attempt_savings(table(np.empty((0, 1)), np.empty(0, int))) is None


def test_captions_that_cannot_gain_are_what_is_saved():
    """Two of ten captions gain by their second and third image; the rest are at a ceiling."""
    scores = np.tile([1.0, 1.0, 1.0], (10, 1))
    scores[:2] = [0.0, 0.5, 1.0]
    savings = attempt_savings(table(scores, made_until(scores, 1.0)))
    assert (savings.images, savings.mean_best_score) == (14, 1.0)
    # What the two gained is all that is known of a second image, and it is supposed of all.
    assert savings.saved < 16


def test_it_does_not_flatter_itself_and_finds_much_of_what_was_saved():
    """Captions differ in how good their images are, and in how much these vary: the easy ones hardly do."""
    rng = np.random.default_rng(3)
    easy = rng.random((4000, 1)) < 0.6
    scores = np.where(easy, 0.8, 0.5) + rng.normal(size=(4000, 6)) * np.where(easy, 0.02, 0.15)
    made = made_until(scores, 0.76)
    savings = attempt_savings(table(scores, made))
    fixed = [scores[:, : n + 1].max(axis=1).mean() for n in range(6)]
    truth = np.interp(savings.mean_best_score, fixed, range(1, 7)) * 4000 - made.sum()
    assert savings.images == made.sum()
    assert truth > 0
    assert 0.4 * truth < savings.saved < 1.1 * truth


def test_the_order_of_rows_does_not_matter():
    scores = np.random.default_rng(5).random((40, 4))
    rows = table(scores, made_until(scores, 0.7))
    assert attempt_savings(rows.sample(fraction=1, shuffle=True, seed=1)) == attempt_savings(rows)
