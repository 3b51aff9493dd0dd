import numpy as np
import pytest

from synthvlm_dagster.images.soundness import image_problem


def grey(level: float, spread: float) -> np.ndarray:
    pixels = np.random.default_rng(0).normal(level, spread, (64, 48, 3))
    return np.clip(pixels.round(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("level", "spread", "problem"),
    [(0, 0, "black"), (0, 2, "black"), (128, 0, "flat"), (255, 1, "flat"), (128, 4, None), (3, 20, None)],
)
def test_black_and_flat_pictures_are_told_from_others(level: float, spread: float, problem: str | None) -> None:
    assert image_problem(grey(level, spread)) == problem


def test_a_plain_colour_is_flat_and_a_small_shape_on_it_is_not() -> None:
    pixels = np.full((512, 512, 3), (200, 30, 30), dtype=np.uint8)
    assert image_problem(pixels) == "flat"
    pixels[:40, :40] = 255
    assert image_problem(pixels) is None
