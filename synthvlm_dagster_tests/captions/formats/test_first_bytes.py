"""Files that hold no captions whatever their names say, and text that is not in UTF-8: each is named, with the fix."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import polars as pl
import pytest
import zstandard
from PIL import Image

from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource

NAMES = {
    "a.json": "llava",
    "a.jsonl": "jsonl",
    "a.csv": "csv",
    "a.tsv": "tsv",
    "a.txt": "txt",
    "a.parquet": "parquet",
    "a.tar": "webdataset",
    "a.arrow": "huggingface",
    "a": "cc3m",
}
TEXTS = [name for name, layout in NAMES.items() if layout not in ("parquet", "webdataset", "huggingface")]
PAGE = "\ufeff\n<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
CAPTIONS = {"txt": "a dog\na cat\n", "json": json.dumps([{"caption": "a dog"}]), "csv": "caption\na dog\n"}


def read(file, **settings):
    return pl.concat(read_captions([CaptionSource(name="web", path=str(file), **settings)]))


def refused(folder, name, content, message, **settings):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CaptionSourceError, match=rf"^source web: {folder / name}: {message}"):
        read(folder / name, **settings)


@pytest.mark.parametrize("named", [False, True], ids=["auto", "named"])
@pytest.mark.parametrize("name", NAMES)
def test_what_stands_for_another_file(tmp_path, name, named):
    settings = {"format": NAMES[name]} if named else {}
    refused(tmp_path, name, PAGE, "it is a web page .*Get the file again", **settings)
    refused(tmp_path, name, "<?xml version='1.0'?><Error>AccessDenied</Error>", "it is a web page", **settings)
    refused(tmp_path, name, POINTER, "it is a pointer of Git LFS .*git lfs pull", **settings)
    refused(tmp_path, name, "", "it is empty", **settings)
    refused(tmp_path, name, " \n\n", "it is empty", **settings)


def test_a_file_that_begins_with_many_blank_lines_is_not_empty(tmp_path):
    (tmp_path / "a.json").write_text("\n" * 100_000 + CAPTIONS["json"])
    assert read(tmp_path / "a.json", format="synthvlm")["text"].to_list() == ["a dog"]


@pytest.mark.parametrize("name", ["a.zip", "a.json"])
def test_a_zip_archive_says_how_its_files_are_named(tmp_path, name):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("annotations/a.json", CAPTIONS["json"])
        archive.writestr("annotations/b.json", CAPTIONS["json"])
    refused(tmp_path, name, packed.getvalue(), rf"it is a zip archive.*zip://\*\.json::{tmp_path}")


def test_a_compressed_file_with_a_byte_that_looks_like_a_tab(tmp_path):
    packed = gzip.compress(CAPTIONS["txt"].encode(), mtime=0x09090909)
    refused(tmp_path, "a.txt", packed, r"it is compressed, .* Rename it .*\.gz")


@pytest.mark.parametrize(
    ("pack", "ending"),
    [(gzip.compress, "gz"), (zstandard.compress, "zst"), (bz2.compress, "bz2"), (lzma.compress, "xz")],
)
@pytest.mark.parametrize("extension", CAPTIONS)
def test_a_compressed_file_whose_name_does_not_say_so(tmp_path, pack, ending, extension):
    refused(
        tmp_path, f"a.{extension}", pack(CAPTIONS[extension].encode()), rf"it is compressed, .* Rename it .*\.{ending}"
    )


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_of_unicode(tmp_path, name, encoding):
    extension = name.partition(".")[2]
    content = CAPTIONS.get(extension, "caption\turl\na dog\thttp://e.org/1.jpg\n").encode(encoding)
    refused(tmp_path, name, content, f"its text is in {encoding[:6].upper()}.*iconv -f {encoding[:6].upper()}")


@pytest.mark.parametrize("name", TEXTS)
def test_zero_bytes_alone(tmp_path, name):
    refused(tmp_path, name, b"\0" * 5000, "it holds nothing but zero bytes")


def test_a_picture_named_as_text(tmp_path):
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(picture, "PNG")
    # One line of it might be read as a caption.
    refused(tmp_path, "a.txt", picture.getvalue() + b"\na dog on a sofa\n", "it holds binary data and no text")


def test_control_characters_in_a_caption_spoil_no_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a dog\x1f\x02\x00 on a sofa\na cat\n")
    assert read(tmp_path / "a.txt")["text"].to_list() == [None, "a cat"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.tsv"])
def test_lines_that_end_in_carriage_returns_alone(tmp_path, name):
    line = {"a.txt": "a dog", "a.jsonl": CAPTIONS["json"][1:-1], "a.tsv": "caption\turl"}[name]
    refused(tmp_path, name, f"{line}\r{line}\r", r"its lines end in \\r alone\. Convert them: tr")


def test_csv_may_end_its_lines_in_carriage_returns_alone(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"caption\ra dog\r\r")
    assert read(tmp_path / "a.csv")["text"].to_list() == ["a dog"]


@pytest.mark.parametrize("ending", ["\n\n\n", "\r\n\r\n", "\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_empty_lines_at_the_end_are_no_rows(tmp_path, name, ending):
    line = {"a.txt": "", "a.csv": "caption\n", "a.tsv": "caption\n", "a.jsonl": ""}[name]
    row = '{"caption": "a dog"}' if name == "a.jsonl" else "a dog"
    (tmp_path / name).write_bytes(f"{line}{row}\n\n{row}{ending}".encode())
    assert read(tmp_path / name)["text"].to_list() == ["a dog", None, "a dog"]
