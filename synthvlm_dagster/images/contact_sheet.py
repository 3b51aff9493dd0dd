"""A few images and their captions in one small picture, for the eye."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from synthvlm_dagster.image_decoding import decode_image

MAX_BYTES = 44_000
"""Of the data URI: Dagster keeps it in its event database, once per materialization."""

_COLUMNS = 4
_SIDE = 144
_LINE_HEIGHT = 13
_LINES = 3
_MARGIN = 4
_CHARACTERS_PER_LINE = 21


def contact_sheet(pictures: Sequence[tuple[bytes, str]]) -> str:
    """Markdown that shows images with their captions; at most `MAX_BYTES` long.

    Args:
        pictures: encoded image and caption of each; captions are drawn into the picture, so that nothing in them is
            read as markup.

    Raises:
        ImageError: bytes are no image.
    """
    if not pictures:
        return "No images."
    sheet = _draw(pictures)
    for quality in (85, 70, 50, 30, 15, 5):
        stream = io.BytesIO()
        sheet.save(stream, "jpeg", quality=quality)
        markdown = f"![{len(pictures)} images](data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()})"
        if len(markdown) <= MAX_BYTES:
            return markdown
    return "The images have too much detail for a small contact sheet."


def _draw(pictures: Sequence[tuple[bytes, str]]) -> Image.Image:
    columns = min(_COLUMNS, len(pictures))
    cell_width, cell_height = _SIDE + 2 * _MARGIN, _SIDE + _LINES * _LINE_HEIGHT + 2 * _MARGIN
    sheet = Image.new("RGB", (columns * cell_width, -(-len(pictures) // columns) * cell_height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for number, (content, caption) in enumerate(pictures):
        left = number % columns * cell_width + _MARGIN
        top = number // columns * cell_height + _MARGIN
        thumb = Image.fromarray(decode_image(content))
        scale = _SIDE / max(thumb.size)
        thumb = thumb.resize([max(1, round(length * scale)) for length in thumb.size])
        sheet.paste(thumb, (left, top))
        for line, text in enumerate(_lines(caption)):
            draw.text((left, top + _SIDE + line * _LINE_HEIGHT), text, fill="black", font=font)
    return sheet


def _lines(caption: str) -> list[str]:
    printable = "".join(character if character.isprintable() else " " for character in caption[:200])
    return textwrap.wrap(printable, _CHARACTERS_PER_LINE, max_lines=_LINES, placeholder=" …")
