"""Whether an image file can be decoded to its end."""

from __future__ import annotations

import io

from PIL import Image


def image_opens(content: bytes | None) -> bool:
    """Whether the bytes are an image (JPEG, PNG, WebP …) that decodes to its end."""
    try:
        with Image.open(io.BytesIO(content or b"")) as image:
            # A JPEG decoded at an eighth of its size is still read to its last byte, in a fraction of the time.
            image.draft("RGB", (image.width // 8, image.height // 8))
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True
