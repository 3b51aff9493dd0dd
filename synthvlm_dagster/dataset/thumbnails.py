"""Small pictures inside a page: thumbnails and contact sheets as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from synthvlm_dagster.errors import ImageError

_QUALITY = 80


def thumbnail(content: bytes, name: str, side: int = 160) -> Image.Image:
    """Decode an image and shrink it, keeping its proportions, until neither side is longer than `side` pixels.

    Args:
        content: an encoded image.
        name: what an error calls the image.

    Returns:
        RGB image; one that is already small enough keeps its size.

    Raises:
        ImageError: the image cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (side * 2, side * 2))
            small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"image {name}: cannot be decoded: {error}") from error
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def data_uri(image: Image.Image, quality: int = _QUALITY) -> str:
    """The image as a `data:image/webp` URI, which a page or a Markdown text can hold."""
    encoded = io.BytesIO()
    image.save(encoded, format="webp", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def contact_sheet(images: Sequence[Image.Image], columns: int = 6, cell: int = 96, gap: int = 4) -> Image.Image:
    """Images in a grid, row by row, on a white ground.

    Args:
        images: at least one; each is fitted into its cell.
        columns: images in one row, at most.
        cell: side of a cell in pixels.
        gap: pixels between cells.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (cell + gap) - gap, rows * (cell + gap) - gap), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        scale = cell / max(image.size)
        fitted = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        left, top = column * (cell + gap) + (cell - fitted.width) // 2, row * (cell + gap) + (cell - fitted.height) // 2
        sheet.paste(fitted, (left, top))
    return sheet
