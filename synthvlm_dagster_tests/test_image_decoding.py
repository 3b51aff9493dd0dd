"""What becomes of image files that are not RGB with 8 bits, and of those that are damaged."""

import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import MAX_PIXELS, decode_image


def encoded(image: Image.Image, suffix: str = "png", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()


def test_greyscale_becomes_three_equal_channels() -> None:
    pixels = decode_image(encoded(Image.new("L", (5, 4), 99)))
    assert pixels.shape == (4, 5, 3)
    assert (pixels.dtype, np.unique(pixels).tolist()) == (np.uint8, [99])


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_of_16_bits_the_upper_8_count(suffix: str) -> None:
    samples = np.array([[0, 255, 256, 0x7FFF, 0xFF00, 0xFFFF]], dtype=np.uint16)
    pixels = decode_image(encoded(Image.fromarray(samples), suffix))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 0x7F, 0xFF, 0xFF]
    assert pixels.shape == (1, 6, 3)


def test_cmyk_becomes_rgb() -> None:
    pixels = decode_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg", quality=95))
    assert pixels[8, 8] == pytest.approx([255, 0, 0], abs=8)


def test_transparency_is_left_out() -> None:
    assert decode_image(encoded(Image.new("RGBA", (3, 3), (10, 20, 30, 0))))[1, 1].tolist() == [10, 20, 30]
    assert decode_image(encoded(Image.new("LA", (3, 3), (10, 0))))[1, 1].tolist() == [10, 10, 10]


def test_palettes_become_their_colours() -> None:
    image = Image.new("RGB", (4, 4), (200, 10, 60)).quantize(4)
    assert decode_image(encoded(image))[2, 2].tolist() == [200, 10, 60]
    assert decode_image(encoded(image, "gif"))[2, 2] == pytest.approx([200, 10, 60], abs=4)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp"])
def test_cut_files_are_refused(suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), suffix)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError, match="cannot be decoded"):
            decode_image(whole[: int(len(whole) * share)])


def test_no_image_at_all() -> None:
    for nothing in (None, b""):
        with pytest.raises(ImageError, match="has no bytes"):
            decode_image(nothing)
    with pytest.raises(ImageError, match="in no image format that Pillow knows"):
        decode_image(b"<html>not found</html>")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_what_would_fill_the_memory_is_refused_before_it_is_decoded(suffix: str) -> None:
    wide, high = 45_000, MAX_PIXELS // 45_000 + 1
    if suffix == "tiff":
        content = encoded(Image.new("1", (wide, high)), "tiff", compression="group4")
    else:
        small = encoded(Image.new("RGB", (8, 8)))
        header = b"IHDR" + struct.pack(">II", wide, high) + small[24:29]
        content = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    assert len(content) < 10_000
    with pytest.raises(ImageError, match=rf"is not decoded: its {wide:,} × {high:,} pixels are more than 89 million"):
        decode_image(content)


def test_no_other_program_is_asked_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%Page: 1 1\n"
    with pytest.raises(ImageError, match="in no image format that Pillow knows"):
        decode_image(postscript)
