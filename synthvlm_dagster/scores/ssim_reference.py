"""The same SSIM by scikit-image: slower, and nobody's code but its own, so that it can vouch for the compiled loops."""

from __future__ import annotations

import numpy as np

from synthvlm_dagster.recipe.scoring import Channels, Window
from synthvlm_dagster.scores.ssim import require_measurable, round_trip
from synthvlm_dagster.scores.ssim_windows import SSIM_WINDOWS


def reference_ssim(
    image: np.ndarray, *, size: int | None = None, channels: Channels = "gray", window: Window = "uniform"
) -> float:
    """What `ssim.resize_ssim` must give, by scikit-image's `structural_similarity` on Pillow's resize.

    Args:
        image: uint8, shape (height, width, 3), sRGB.
        size: see `resize_ssim`.
        channels: see `resize_ssim`.
        window: see `resize_ssim`.

    Returns:
        Mean SSIM in [-1, 1].

    Raises:
        ImageError: see `resize_ssim`.
    """
    from skimage.metrics import structural_similarity

    size = require_measurable(image.shape, image.dtype, size, window)
    original, restored = round_trip(image, size, channels)
    similarity = structural_similarity(
        np.asarray(original),
        np.asarray(restored),
        data_range=255,
        channel_axis=2 if channels == "rgb" else None,
        **SSIM_WINDOWS[window].scikit_image,
    )
    return float(similarity)
