"""From the bytes of an image file to its pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from synthvlm_dagster.errors import ImageError


def decode_image(content: bytes | None) -> np.ndarray:
    """Pixels of an encoded image (PNG, JPEG, WebP …) as uint8 of shape (height, width, 3), sRGB.

    Raises:
        ImageError: the bytes are missing, cut short, no image, or an image of so many pixels that Pillow takes it for
            a decompression bomb.
    """
    if not content:
        raise ImageError("has no bytes")
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        # Pillow's own words hold the address of a buffer, another one each time.
        raise ImageError("cannot be decoded: it is in no image format that Pillow knows") from error
    except Exception as error:  # damaged files make Pillow's plugins fail in any way
        raise ImageError(f"cannot be decoded: {error}") from error
