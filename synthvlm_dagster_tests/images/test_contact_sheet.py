import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.images.contact_sheet import MAX_BYTES, contact_sheet


def picture(seed: int = 0, width: int = 64, height: int = 64) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "png")
    return stream.getvalue()


def decoded(markdown: str) -> Image.Image:
    match = re.fullmatch(r"!\[\d+ images\]\(data:image/jpeg;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert match
    return Image.open(io.BytesIO(base64.b64decode(match[1])))


@pytest.mark.parametrize("count", [1, 5, 12, 24])
def test_even_noise_gives_a_small_picture_that_opens(count: int) -> None:
    markdown = contact_sheet([(picture(seed, 256, 256), f"caption {seed}") for seed in range(count)])
    assert len(markdown) <= MAX_BYTES
    sheet = decoded(markdown)
    assert sheet.width * sheet.height >= count * 144 * 144


def test_the_captions_are_drawn() -> None:
    image = picture()
    with_text, without = (decoded(contact_sheet([(image, text)])) for text in ("a red circle", ""))
    below = (0, 150, 152, 160)
    assert without.crop(below).convert("L").getextrema()[0] > 240
    assert with_text.crop(below).convert("L").getextrema()[0] < 100


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=300), min_size=1, max_size=3))
def test_no_caption_breaks_the_sheet(captions: list[str]) -> None:
    markdown = contact_sheet([(picture(), caption) for caption in [*captions, "](javascript:x) <script>|"]])
    decoded(markdown)


@pytest.mark.parametrize(("width", "height"), [(400, 20), (20, 400), (1, 1)])
def test_any_shape_fits_its_cell(width: int, height: int) -> None:
    assert decoded(contact_sheet([(picture(0, width, height), "long")])).size == (152, 191)


def test_no_images_are_said_in_words() -> None:
    assert contact_sheet([]) == "No images."


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ImageError, match="in no image format"):
        contact_sheet([(b"nothing", "a caption")])
