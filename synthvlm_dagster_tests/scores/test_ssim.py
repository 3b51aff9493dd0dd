"""SSIM of an image with its reduced copy, against scikit-image on Pillow's resize."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.recipe.scoring import Window
from synthvlm_dagster.scores.ssim import resize_ssim
from synthvlm_dagster.scores.ssim_reference import reference_ssim
from synthvlm_dagster.scores.ssim_windows import SSIM_WINDOWS


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(side: int) -> np.ndarray:
    """A smooth slope with one hard edge."""
    across, down = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 255, side))
    return np.stack([across, down, np.where(across > down, 255, 0)], axis=2).astype(np.uint8)


GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def reference(image: np.ndarray, size: int, channels: str, window: str) -> float:
    """scikit-image's similarity on Pillow's round trip."""
    before = Image.fromarray(image).convert("L" if channels == "gray" else "RGB")
    after = before.resize((size, size), Image.BILINEAR).resize(before.size, Image.BILINEAR)
    options = GAUSSIAN if window == "gaussian" else {}
    axis = None if channels == "gray" else 2
    return float(structural_similarity(np.array(before), np.array(after), data_range=255, channel_axis=axis, **options))


VARIANTS = pytest.mark.parametrize(
    ("channels", "window"), [("gray", "uniform"), ("rgb", "uniform"), ("gray", "gaussian"), ("rgb", "gaussian")]
)


@VARIANTS
@pytest.mark.parametrize(("side", "size"), [(64, 21), (200, 66), (1024, 336)])
def test_equals_scikit_image_on_pillows_resize(side: int, size: int, channels: str, window: str) -> None:
    image = picture(side)
    expected = reference(image, size, channels, window)
    assert resize_ssim(image, size=size, channels=channels, window=window) == pytest.approx(expected, abs=1e-12)


@VARIANTS
@settings(max_examples=20, deadline=None)
@given(height=st.integers(11, 60), width=st.integers(11, 60), seed=st.integers(0, 1000), data=st.data())
def test_equals_scikit_image_for_any_shape(
    channels: str, window: str, height: int, width: int, seed: int, data: st.DataObject
) -> None:
    image = noise(height, width, seed)
    size = data.draw(st.integers(1, min(height, width)))
    expected = reference(image, size, channels, window)
    assert resize_ssim(image, size=size, channels=channels, window=window) == pytest.approx(expected, abs=1e-12)
    assert reference_ssim(image, size=size, channels=channels, window=window) == expected


def test_largest_sums_fit() -> None:
    """Black and white, whose squares are the largest, in windows of one kind only."""
    half = np.zeros((64, 64, 3), dtype=np.uint8)
    half[:, 32:] = 255
    assert resize_ssim(half, size=8) == pytest.approx(reference(half, 8, "gray", "uniform"), abs=1e-12)
    white = np.full((64, 64, 3), 255, dtype=np.uint8)
    assert resize_ssim(white, size=8) == 1.0


@pytest.mark.parametrize(("height", "width", "size"), [(1024, 1024, 336), (64, 64, 21), (512, 900, 168), (300, 20, 7)])
def test_without_a_size_the_papers_ratio_is_kept(height: int, width: int, size: int) -> None:
    image = noise(height, width)
    assert resize_ssim(image) == resize_ssim(image, size=size)


@settings(max_examples=30, deadline=None)
@given(st.integers(7, 40), st.integers(7, 40), st.integers(0, 1000), st.data())
def test_lies_between_minus_one_and_one(height: int, width: int, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, min(height, width)))
    assert -1.0 <= resize_ssim(noise(height, width, seed), size=size) <= 1.0


def test_smooth_pictures_survive_better_than_noise() -> None:
    assert resize_ssim(picture(64), size=21) > 0.8 > 0.5 > resize_ssim(noise(64, 64), size=21)


def test_the_images_own_size_changes_nothing() -> None:
    assert resize_ssim(noise(32, 32), size=32) == 1.0


def test_a_flat_image_is_equal_to_its_copy() -> None:
    assert resize_ssim(np.full((32, 32, 3), 77, dtype=np.uint8), size=10) == 1.0


@pytest.mark.parametrize(
    ("image", "size", "words"),
    [
        (np.zeros((32, 32, 3), dtype=np.float32), 10, "uint8.*float32"),
        (np.zeros((32, 32), dtype=np.uint8), 10, r"\(32, 32\)"),
        (np.zeros((32, 32, 4), dtype=np.uint8), 10, r"\(32, 32, 4\)"),
        (np.zeros((6, 32, 3), dtype=np.uint8), 5, "7×7.*32×6"),
        (np.zeros((64, 48, 3), dtype=np.uint8), 336, "336.*48×64.*reduced_size"),
        (np.zeros((64, 48, 3), dtype=np.uint8), 0, "0 pixels"),
    ],
)
def test_refuses_what_has_no_such_similarity(image: np.ndarray, size: int, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        resize_ssim(image, size=size)


def test_the_gaussian_window_needs_more_pixels() -> None:
    with pytest.raises(ImageError, match=r"11×11.*10×30"):
        resize_ssim(noise(30, 10), size=5, window="gaussian")


def test_the_recipe_names_every_window() -> None:
    assert set(SSIM_WINDOWS) == set(get_args(Window))
