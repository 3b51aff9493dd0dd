"""Structural similarity of an image with its own reduced copy (SynthVLM, eq. 3)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.recipe.scoring import Channels, Window
from synthvlm_dagster.scores.naming import papers_reduced_size
from synthvlm_dagster.scores.ssim_windows import SSIM_WINDOWS


def resize_ssim(
    image: np.ndarray, *, size: int | None = None, channels: Channels = "gray", window: Window = "uniform"
) -> float:
    """Structural similarity of an image with itself after a round trip through a smaller size.

    Measures the detail that a VLM's vision tower keeps when it shrinks the image (SynthVLM, eq. 3). Both resizes are
    Pillow's bilinear one with 8 bits per sample between them. Luma is taken before them; taken after, rounding would
    change photographs' scores by less than 0.0001. SSIM is the mean over all windows inside the image, with a data
    range of 255 (Wang et al., 2004, https://doi.org/10.1109/TIP.2003.819861): scikit-image's `structural_similarity`.

    Args:
        image: uint8, shape (height, width, 3), sRGB.
        size: side of the small square, in pixels; at most the image's shorter side, since a trip through a larger
            size says nothing about lost detail. Equal to both sides gives 1. None: 336/1024 of the shorter side, which
            is the paper's ratio.
        channels: compare luma (Pillow's "L") or the mean over R, G and B.
        window: `uniform`: 7×7 pixels alike, sample covariances (scikit-image's defaults); `gaussian`: 11×11 pixels
            under a Gaussian of 1.5 pixels, population covariances (as Wang et al.).

    Returns:
        Mean SSIM in [-1, 1], equal to scikit-image's within 1e-12.

    Raises:
        ImageError: the image is not uint8 RGB, is smaller than the window, or is smaller than `size`.
    """
    size = require_measurable(image.shape, image.dtype, size, window)
    original, restored = round_trip(image, size, channels)
    planes = ((original, restored),) if channels == "gray" else zip(original.split(), restored.split(), strict=True)
    similarity = SSIM_WINDOWS[window].similarity
    return float(np.mean([similarity(np.asarray(before), np.asarray(after)) for before, after in planes]))


def round_trip(image: np.ndarray, size: int, channels: Channels) -> tuple[Image.Image, Image.Image]:
    """The image as it is compared (luma or RGB), and as it comes back from the small square."""
    original = Image.fromarray(image)
    if channels == "gray":
        original = original.convert("L")
    reduced = original.resize((size, size), Image.Resampling.BILINEAR)
    return original, reduced.resize(original.size, Image.Resampling.BILINEAR)


def require_measurable(shape: tuple[int, ...], dtype: np.dtype, size: int | None, window: Window) -> int:
    """Refuse an image that has no such similarity; returns the side of the small square.

    Raises:
        ImageError: see `resize_ssim`.
    """
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise ImageError(f"SSIM needs an RGB image as uint8 of shape (height, width, 3), not {dtype} of shape {shape}")
    height, width = shape[:2]
    side = SSIM_WINDOWS[window].side
    if min(height, width) < side:
        raise ImageError(f"SSIM needs at least {side}×{side} pixels (its window); this image has {width}×{height}")
    papers_size = papers_reduced_size(height, width)
    if size is None:
        return papers_size
    if not 1 <= size <= min(height, width):
        raise ImageError(
            f"SSIM's small square of {size} pixels must fit into the image of {width}×{height} pixels. Set "
            f"scoring.ssim.reduced_size lower (the paper shrinks 1024 to 336, which is {papers_size} here)"
        )
    return size
