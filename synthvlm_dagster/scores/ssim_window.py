"""What every kind of window is that SSIM compares two images in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SsimWindow:
    """One kind of window.

    Attributes:
        name: in the recipe, as `scoring.ssim.window`.
        side: of a window, pixels; images must not be smaller.
        similarity: mean SSIM, in [-1, 1], over all windows that lie inside two images: uint8, both of shape (height,
            width), with a data range of 255.
        scikit_image: arguments by which scikit-image's `structural_similarity` computes the same.
    """

    name: str
    side: int
    similarity: Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]
    scikit_image: Mapping[str, Any] = field(default_factory=dict)
