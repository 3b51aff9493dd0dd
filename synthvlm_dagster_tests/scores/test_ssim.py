"""SSIM of an image with its reduced copy, against scikit-image on Pillow's resize."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.scores.ssim import resize_ssim


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(side: int) -> np.ndarray:
    """A smooth slope with one hard edge."""
    across, down = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 255, side))
    return np.stack([across, down, np.where(across > down, 255, 0)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("side", "size"), [(64, 21), (200, 66), (1024, 336)])
def test_gray_equals_scikit_image_on_pillows_luma(side: int, size: int) -> None:
    image = picture(side)
    luma = Image.fromarray(image).convert("L")
    back = luma.resize((size, size), Image.BILINEAR).resize((side, side), Image.BILINEAR)
    expected = structural_similarity(np.array(luma), np.array(back), data_range=255)
    assert resize_ssim(image, size=size) == pytest.approx(expected, abs=1e-12)


def test_rgb_is_the_mean_over_the_channels() -> None:
    image = noise(40, 56)
    back = np.array(Image.fromarray(image).resize((14, 14), Image.BILINEAR).resize((56, 40), Image.BILINEAR))
    channels = [structural_similarity(image[..., c], back[..., c], data_range=255) for c in range(3)]
    assert resize_ssim(image, size=14, channels="rgb") == pytest.approx(np.mean(channels), abs=1e-12)


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
