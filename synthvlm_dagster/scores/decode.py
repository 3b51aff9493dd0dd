"""From the bytes of an image file to its pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from synthvlm_dagster.errors import ImageError


def decode_image(content: bytes | None) -> np.ndarray:
    """Pixels of an encoded image (PNG, JPEG, WebP …) as uint8 of shape (height, width, 3), sRGB.

    Raises:
        ImageError: the bytes are missing, cut short, or no image.
    """
    if not content:
        raise ImageError("has no bytes")
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"cannot be decoded: {error}") from error
