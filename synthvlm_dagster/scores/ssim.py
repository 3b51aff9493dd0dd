"""Structural similarity of an image with its own reduced copy (SynthVLM, eq. 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from synthvlm_dagster.errors import ImageError

WINDOW = 7


def resize_ssim(image: np.ndarray, *, size: int = 336, channels: Literal["gray", "rgb"] = "gray") -> float:
    """Structural similarity of an image with itself after a round trip through a smaller size.

    Measures the detail that a VLM's vision tower keeps when it shrinks the image (SynthVLM, eq. 3). Both resizes are
    Pillow's bilinear one with 8 bits per sample between them. Luma is taken before them; taken after, rounding would
    change photographs' scores by less than 0.0001. SSIM is the mean over uniform 7×7 windows with a data range of 255
    (Wang et al., 2004, with scikit-image's defaults).

    Args:
        image: uint8, shape (height, width, 3), sRGB.
        size: side of the small square, in pixels; at most the image's shorter side, since a trip through a larger
            size says nothing about lost detail. Equal to both sides gives 1.
        channels: compare luma (Pillow's "L") or the mean over R, G and B.

    Returns:
        Mean SSIM in [-1, 1].

    Raises:
        ImageError: the image is not uint8 RGB, is smaller than the 7-pixel window, or is smaller than `size`.
    """
    _require_measurable(image, size)
    original = Image.fromarray(image)
    if channels == "gray":
        original = original.convert("L")
    reduced = original.resize((size, size), Image.Resampling.BILINEAR)
    restored = reduced.resize(original.size, Image.Resampling.BILINEAR)
    channel_axis = None if channels == "gray" else 2
    similarity = structural_similarity(
        np.asarray(original), np.asarray(restored), data_range=255, win_size=WINDOW, channel_axis=channel_axis
    )
    return float(similarity)


def _require_measurable(image: np.ndarray, size: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"SSIM needs an RGB image as uint8 of shape (height, width, 3), not {image.dtype} of shape {image.shape}"
        )
    height, width = image.shape[:2]
    if min(height, width) < WINDOW:
        raise ImageError(f"SSIM needs at least {WINDOW}×{WINDOW} pixels (its window); this image has {width}×{height}")
    if not 1 <= size <= min(height, width):
        papers_ratio = round(min(height, width) * 336 / 1024)
        raise ImageError(
            f"SSIM's small square of {size} pixels must fit into the image of {width}×{height} pixels. Set "
            f"scoring.ssim.reduced_size lower (the paper shrinks 1024 to 336, which is {papers_ratio} here)"
        )
