"""Original images are read from every place, and whatever is wrong with one is said of that one alone."""

import io
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthvlm_dagster.captions.measures import original_images
from synthvlm_dagster.captions.measures.original_images import OriginalImages
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster_tests.pictures import draw

PICTURE = draw("original", 40, 30)
PIXELS = np.asarray(PICTURE)


def encoded(picture: Image.Image = PICTURE, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def tar_of(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def web() -> Iterator[str]:
    """The URL of a server: it has /picture.png (which it does not let be asked for by HEAD), and refuses /secret."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {"/picture.png": 200, "/short.png": 200, "/secret": 403}.get(self.path, 404)
            content = encoded() if status == 200 else b"no"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.path == "/short.png" else content)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_reads_paths_urls_and_members_of_archives(tmp_path: Path, web: str) -> None:
    (tmp_path / "a picture #1.png").write_bytes(encoded())
    tar_of({"000/000 1.png": encoded()}, tmp_path / "shard.tar")
    with zipfile.ZipFile(tmp_path / "shard.zip", "w") as archive:
        archive.writestr("one.png", encoded())
    for name in ("one.png", "shard.tar"):
        with fsspec.open(f"memory://originals/{name}", "wb") as stream:
            stream.write((tmp_path / name).read_bytes() if name == "shard.tar" else encoded())
    uris = [
        str(tmp_path / "a picture #1.png"),
        f"file://{tmp_path}/a picture #1.png",
        "memory://originals/one.png",
        f"{web}/picture.png",
        f"tar://000/000 1.png::{tmp_path}/shard.tar",
        f"tar://000/000 1.png::file://{tmp_path}/shard.tar",
        "tar://000/000 1.png::memory://originals/shard.tar",
        f"zip://one.png::{tmp_path}/shard.zip",
        f"simplecache::{web}/picture.png",
    ]
    images = OriginalImages()
    for uri in uris:
        assert np.array_equal(images.open(uri), PIXELS), uri


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (PICTURE.convert("L"), "JPEG"),
        (PICTURE.convert("CMYK"), "JPEG"),
        (PICTURE.convert("RGBA"), "WEBP"),
        (PICTURE.convert("P"), "GIF"),
        (PICTURE.convert("1"), "TIFF"),
        (PICTURE.convert("I;16"), "PNG"),
    ],
)
def test_every_kind_of_image_becomes_rgb(picture: Image.Image, kind: str, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(encoded(picture, kind))
    pixels = OriginalImages().open(str(tmp_path / "picture"))
    assert pixels.shape == (30, 40, 3)
    assert pixels.dtype == np.uint8


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 60,000×60,000 pixels."""
    content = encoded()
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no bytes"),
        (b"<html>not found</html>", "cannot be decoded: it is in no image format that Pillow knows"),
        (encoded()[:-200], "cannot be decoded: "),
        (encoded(kind="JPEG")[:-200], "cannot be decoded: image file is truncated"),
        (bomb(), "is not decoded: it has more than 89 million pixels"),
        (encoded(Image.new("RGB", (1, 500))), "is a line rather than a picture"),
    ],
)
def test_says_what_is_wrong_with_a_file(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        OriginalImages().open(str(tmp_path / "bad"))


def test_says_what_is_wrong_with_a_place(tmp_path: Path, web: str) -> None:
    tar_of({"one.png": encoded()}, tmp_path / "shard.tar")
    (tmp_path / "torn.tar").write_bytes(b"no tar" * 200)
    os.mkfifo(tmp_path / "pipe")
    for uri, words in {
        str(tmp_path / "nothing.png"): "is missing",
        "memory://nothing.png": "is missing",
        f"{web}/nothing.png": "is missing",
        f"{web}/secret": "cannot be read: HTTP status 403",
        f"{web}/short.png": "cannot be read: ClientPayloadError",
        "http://127.0.0.1:1/one.png": "cannot be read: .*Connect",
        "nowhere://one.png": "is not read: .*, not by nowhere",
        "reference://one.png": "not by reference",
        "simplecache::sftp://host/one.png": "not by sftp",
        f"tar://one.png::dir::file://{tmp_path}/shard.tar": "not by dir",
        str(tmp_path): "is not read: it is no file",
        str(tmp_path / "pipe"): "is not read: it is no file",
        f"tar://one.png::{tmp_path}/pipe": "is not read: it is no file",
        f"tar://two.png::{tmp_path}/shard.tar": "is missing",
        f"tar://one.png::{tmp_path}/torn.tar": "archive .*torn.tar cannot be opened",
        f"tar://one.png::{tmp_path}/nothing.tar": "archive .*nothing.tar cannot be opened",
        f"tar://::{tmp_path}/shard.tar": "is missing|cannot be read",
        "\0": "cannot be read",
        "": "is no file",
    }.items():
        with pytest.raises(ImageError, match=words):
            OriginalImages().open(uri)


def test_a_file_too_large_for_a_picture_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original_images, "_MAX_BYTES", 1 << 20)
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ImageError, match="larger than 1 MiB"):
        OriginalImages().open(str(tmp_path / "huge.png"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]),
    end=st.integers(0, 3000),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=20),
)
def test_damage_of_any_kind_is_an_image_error(kind: str, end: int, changes: list[tuple[int, int]]) -> None:
    content = bytearray(encoded(kind=kind)[:end])
    for place, value in changes:
        if place < len(content):
            content[place] = value
    with fsspec.open("memory://damaged", "wb") as stream:
        stream.write(bytes(content))
    try:
        assert OriginalImages().open("memory://damaged").ndim == 3
    except ImageError as error:
        assert str(error).startswith(("has no bytes", "cannot be decoded", "is not decoded", "is a line"))


def numbered(number: int) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (number % 256, number // 256, 7)))


def number_of(pixels: np.ndarray) -> int:
    red, green, _ = pixels[0, 0].tolist()
    return red + 256 * green


def test_an_archive_is_opened_once_for_all_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [
        tar_of({f"{number}.png": numbered(number) for number in range(start, 600, 12)}, tmp_path / f"{start}.tar")
        for start in range(12)
    ]
    opened: list[str] = []
    real = fsspec.filesystem

    def counting(scheme: str, **options: str) -> fsspec.AbstractFileSystem:
        opened.append(options["fo"])
        return real(scheme, **options)

    monkeypatch.setattr(fsspec, "filesystem", counting)
    uris = [f"tar://{number}.png::{shard}" for start, shard in enumerate(shards) for number in range(start, 600, 12)]
    batches = OriginalImages().open_all(pl.DataFrame({"image_uri": uris}), number_of, 16)
    found = {uri: number for batch in batches for uri, number in batch.images.items()}
    assert found == {uri: int(uri.removeprefix("tar://").split(".")[0]) for uri in uris}
    assert sorted(opened) == sorted(map(str, shards))


def test_images_come_with_their_captions_in_order(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.png").write_bytes(numbered(number))
    (tmp_path / "3.png").unlink()
    captions = pl.DataFrame(
        {
            "key": list(map(str, range(100))),
            "image_uri": [str(tmp_path / f"{number // 2}.png") for number in range(100)],
        }
    )
    batches = list(OriginalImages().open_all(captions, number_of, 7))
    assert pl.concat([batch.captions for batch in batches]).equals(captions)
    assert [batch.captions.height for batch in batches] == [7] * 14 + [2]
    for batch in batches:
        for uri in batch.captions["image_uri"]:
            if Path(uri).stem == "3":
                assert str(batch.images[uri]) == "is missing"
            else:
                assert batch.images[uri] == int(Path(uri).stem)


def test_images_are_opened_only_a_little_ahead_and_shared_ones_once(tmp_path: Path) -> None:
    opened: list[int] = []

    def prepare(pixels: np.ndarray) -> int:
        opened.append(number_of(pixels))
        return opened[-1]

    for number in range(200):
        (tmp_path / f"{number}.png").write_bytes(numbered(number))
    uris = [str(tmp_path / f"{number // 2}.png") for number in range(400)]
    batches = OriginalImages().open_all(pl.DataFrame({"image_uri": uris}), prepare, 32)
    assert list(next(batches).images.values()) == list(range(16))
    batches.close()
    assert len(opened) <= 48
    assert len(set(opened)) == len(opened)


def test_a_transform_that_fails_is_said_of_its_image_alone() -> None:
    for number in range(4):
        with fsspec.open(f"memory://transformed/{number}.png", "wb") as stream:
            stream.write(numbered(number))

    def prepare(forbidden: int, pixels: np.ndarray) -> int:
        if number_of(pixels) == forbidden:
            raise ZeroDivisionError
        return number_of(pixels)

    uris = [f"memory://transformed/{number}.png" for number in range(4)]
    (batch,) = OriginalImages().open_all(pl.DataFrame({"image_uri": uris}), partial(prepare, 2), 4)
    assert [str(image) for image in batch.images.values()] == [
        "0",
        "1",
        "cannot be prepared for the model: ZeroDivisionError",
        "3",
    ]
