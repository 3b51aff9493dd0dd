"""From the bytes of an image file to its pixels."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from synthvlm_dagster.errors import ImageError

MAX_PIXELS = 89_478_485
"""Most pixels of an image that is decoded: 256 MiB as RGB, from where on Pillow warns. A file of some kilobytes can
hold many more."""
_MILLIONS = MAX_PIXELS // 10**6

# Pillow's other plugins are rarely met and rarely tested; that of EPS hands the file to Ghostscript, a program.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")


def open_image(content: bytes) -> Image.Image:
    """An encoded image (PNG, JPEG, WebP …) as Pillow opens it: its header is read, its pixels are not.

    Raises:
        ImageError: it is in no format of pictures, or of more than `MAX_PIXELS` pixels.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
    except UnidentifiedImageError as error:
        # Pillow's own words hold the address of a buffer, another one each time.
        raise ImageError("cannot be decoded: it is in no image format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"is not decoded: it has more than {_MILLIONS} million pixels") from error
    except Exception as error:  # damaged files make Pillow's plugins fail in any way
        raise ImageError(f"cannot be decoded: {error}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ImageError(f"is not decoded: its {width:,} × {height:,} pixels are more than {_MILLIONS} million")
    return image


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode_image(content: bytes | None) -> np.ndarray:
    """Pixels of an encoded image (PNG, JPEG, WebP …) as uint8 of shape (height, width, 3), sRGB.

    Greyscale, palette and CMYK become RGB as Pillow converts them; of 16 bits a sample the upper 8 count, of an
    animation the first picture; transparency is left out, as VLMs do that convert their images to RGB.

    Raises:
        ImageError: the bytes are missing, cut short, no image, or an image of more than `MAX_PIXELS` pixels.
    """
    if not content:
        raise ImageError("has no bytes")
    with open_image(content) as image:
        try:
            return np.asarray(_with_8_bits(image).convert("RGB"))
        except Exception as error:  # damaged files make Pillow's plugins fail in any way
            raise ImageError(f"cannot be decoded: {error}") from error


def read_image_file(path: str | Path) -> np.ndarray:
    """Pixels of an image file, see `decode_image`.

    Raises:
        ImageError: the file is missing, cannot be read, or cannot be decoded; names it.
    """
    try:
        return decode_image(Path(path).read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _with_8_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits, which Pillow would cut off at 255, in 8."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
