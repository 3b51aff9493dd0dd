"""WebDataset tars: as img2dataset writes them, captions in .txt or .json, bad samples, cut archives."""

import gzip
import io
import json
import tarfile

import fsspec
import polars as pl
import pytest
import webdataset
import zstandard

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.captions.readers import file_format, read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource

JPEG = b"\xff\xd8\xff\xe0 picture \xff\xd9"


def img2dataset_json(**more):
    """The .json beside each image, with the fields and the indent of img2dataset."""
    facts = {"caption": "a dog", "url": "http://e.org/1.jpg", "key": "000000000", "status": "success"}
    facts |= {"error_message": None, "width": 256, "height": 256, "original_width": 980, "original_height": 405}
    facts |= {"exif": "{}", "sha256": "9" * 64}
    return json.dumps(facts | more, indent=4).encode()


def tar(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def read(folder, content, name="00000.tar", **settings):
    path = folder / name
    path.write_bytes(content)
    settings = {"max_bad_share": 1} | settings
    return pl.concat(read_captions([CaptionSource(name="source", path=str(path), **settings)]))


IMG2DATASET = [
    ("000000000.jpg", JPEG),
    ("000000000.json", img2dataset_json(similarity=0.34375, punsafe=0.125, pwatermark=0.5)),
    ("000000000.txt", b"a dog"),
    ("000000001.jpg", JPEG + b"1"),
    ("000000001.json", img2dataset_json(caption="a cat", similarity=None, url="http://e.org/2.jpg")),
    ("000000001.txt", "a café\n".encode()),
]
SCORES = {"clip_similarity": "similarity", "nsfw_score": "punsafe", "watermark_score": "pwatermark"}


@pytest.mark.parametrize("named", [True, False], ids=["named", "auto"])
@pytest.mark.parametrize(
    ("name", "mode"), [("0.tar", "w"), ("0.tar.gz", "w:gz"), ("0.tgz", "w:gz"), ("0.tar.xz", "w:xz")]
)
def test_a_shard_of_img2dataset(tmp_path, name, mode, named):
    layout = "webdataset" if named else "auto"
    raw = read(tmp_path, tar(IMG2DATASET, mode), name, format=layout, columns=SCORES)
    columns = ("source_row", "text", "clip_similarity", "watermark_score", "nsfw_score", "problem")
    assert raw.select(columns).rows() == [(0, "a dog", 0.34375, 0.5, 0.125, None), (1, "a café", *[None] * 4)]
    if name != "0.tgz":  # fsspec does not know this suffix as a compression
        contents = []
        for uri in raw["image_uri"]:
            with fsspec.open(uri) as image:
                contents.append(image.read())
        assert contents == [JPEG, JPEG + b"1"]
    assert raw["image_uri"][0] == f"tar://000000000.jpg::{tmp_path}/{name}"


def test_a_shard_that_the_webdataset_library_wrote(tmp_path):
    path = tmp_path / "shard-000000.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for number in range(3):
            writer.write({"__key__": f"{number:04d}", "webp": JPEG, "txt": f"caption {number}", "cls": number})
    raw = pl.concat(read_captions([CaptionSource(name="source", path=str(path))]))
    assert raw["text"].to_list() == ["caption 0", "caption 1", "caption 2"]
    assert raw["image_uri"].to_list() == [f"tar://{number:04d}.webp::{path}" for number in range(3)]


def test_a_shard_on_another_filesystem():
    fsspec.filesystem("memory").pipe_file("/shards/00000.tar", tar(IMG2DATASET))
    raw = pl.concat(read_captions([CaptionSource(name="source", path="memory://shards/*.tar")]))
    assert raw["text"].to_list() == ["a dog", "a café"]
    with fsspec.open(raw["image_uri"][1]) as image:
        assert image.read() == JPEG + b"1"


def test_detection_by_content(tmp_path):
    (tmp_path / "shard").write_bytes(tar(IMG2DATASET))
    source = CaptionSource(name="source", path=str(tmp_path / "shard"))
    assert file_format(find_files(source)[0], source) == "webdataset"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (None, ["from the txt", "only txt", "from the json"]),
        ({"text": "caption"}, ["beside it", "only txt", "from the json"]),
        ({"text": "long"}, ["in long", "only txt", None]),
    ],
)
def test_where_the_caption_is(tmp_path, columns, expected):
    members = [
        ("a/1.txt", b"from the txt"),
        ("a/1.json", json.dumps({"caption": "beside it", "long": "in long"}).encode()),
        ("a/2.txt", b"only txt"),
        ("a/2.json", json.dumps({"url": "2.jpg"}).encode()),
        ("b/2.json", json.dumps({"caption": "from the json"}).encode()),
    ]
    assert read(tmp_path, tar(members), columns=columns)["text"].to_list() == expected


def test_an_image_column_names_a_field_of_the_json(tmp_path):
    raw = read(tmp_path, tar(IMG2DATASET), columns={"image": "url"})
    assert raw["image_uri"].to_list() == ["http://e.org/1.jpg", "http://e.org/2.jpg"]


def test_lists_of_captions(tmp_path):
    fields = {"captions": ["a dog", None, "a puppy"], "similarities": [0.5, 0.25, 0.125]}
    columns = {"text": "captions", "clip_similarity": "similarities"}
    members = [("1.png", JPEG), ("1.json", json.dumps(fields).encode())]
    raw = read(tmp_path, tar(members), columns=columns)
    assert raw.select("source_row", "text", "clip_similarity", "problem").rows() == [
        (0, "a dog", 0.5, None),
        (0, None, 0.25, "captions is null"),
        (0, "a puppy", 0.125, None),
    ]
    assert set(raw["image_uri"]) == {f"tar://1.png::{tmp_path}/00000.tar"}


def test_names_of_samples(tmp_path):
    members = [
        ("./x/1.jpg", JPEG),
        ("./x/._1.txt", b"what a Mac leaves behind"),
        ("./x/1.seg.png", b"a mask"),
        ("./x/1.TXT", b"dots in the suffix, upper case"),
        ("./x/.hidden.txt", b"no"),
        ("README", b"no suffix"),
        ("v1.0/1.txt", b"dots in the folder"),
        ("v1.0/1.txt", b"the same name again"),
    ]
    raw = read(tmp_path, tar(members))
    assert raw["text"].to_list() == ["dots in the suffix, upper case", "dots in the folder", "the same name again"]
    with fsspec.open(raw["image_uri"][0]) as image:
        assert image.read() == JPEG


def test_what_is_no_file_is_passed_over(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("x", tarfile.DIRTYPE), ("x/link.txt", tarfile.SYMTYPE), ("x/hard.txt", tarfile.LNKTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "x/1.txt"
            archive.addfile(header)
        header = tarfile.TarInfo("x/1.txt")
        header.size = 5
        archive.addfile(header, io.BytesIO(b"a dog"))
    assert read(tmp_path, buffer.getvalue())["text"].to_list() == ["a dog"]


def test_bad_samples(tmp_path):
    samples = [
        ("1.txt", b"good", None),
        ("2.jpg", JPEG, "the sample has neither .txt nor .json"),
        ("3.txt", b"caf\xe9", "caption is not valid UTF-8"),
        ("4.txt", b" \n", "caption is empty"),
        ("5.json", b'{"caption": "bro', "the .json is not valid JSON"),
        ("6.json", b'{"caption": "caf\xe9"}', "the .json is not valid UTF-8"),
        ("7.json", b'["a dog"]', "the .json is not an object"),
        ("8.json", b'{"url": "8.jpg"}', "caption is missing"),
        ("9.json", b'{"caption": null}', "caption is null"),
        ("10.json", b'{"caption": 7}', "caption is a number, not a string"),
        ("11.json", b'{"caption": "half a \\ud83d pair"}', "caption is not valid UTF-8"),
        ("12.json", b"[" * 99_999, "the .json is not valid JSON"),
        ("13.json", b"", "the .json is not valid JSON"),
    ]
    raw = read(tmp_path, tar([(name, content) for name, content, _ in samples]))
    assert raw["problem"].to_list() == [problem for _, _, problem in samples]
    assert raw["source_row"].to_list() == list(range(len(samples)))
    assert raw["text"].to_list() == ["good"] + [None] * (len(samples) - 1)


def test_a_broken_json_costs_its_sample_only_where_it_is_needed(tmp_path):
    members = tar([("1.txt", b"a dog"), ("1.json", b"{"), ("2.txt", b"a cat"), ("2.json", b'{"similarity": 0.5}')])
    assert read(tmp_path, members)["text"].to_list() == ["a dog", "a cat"]
    raw = read(tmp_path, members, columns={"clip_similarity": "similarity"})
    assert raw.select("text", "clip_similarity", "problem").rows() == [
        (None, None, "the .json is not valid JSON"),
        ("a cat", 0.5, None),
    ]


@pytest.mark.parametrize(
    ("setting", "columns"),
    [
        ("text", {"text": "prompt"}),
        ("clip_similarity", {"clip_similarity": "clip"}),
        ("image", {"image": "link"}),
    ],
)
def test_a_field_that_no_sample_has(tmp_path, setting, columns):
    (name,) = columns.values()
    members = [member for member in IMG2DATASET if not member[0].endswith(".txt")]
    with pytest.raises(
        CaptionSourceError, match=rf"there is no column {name}; columns are .*caption.*columns\.{setting}"
    ):
        read(tmp_path, tar(members), columns=columns)


LONG = [(f"{number:04d}.{suffix}", b"x" * 700) for number in range(20) for suffix in ("jpg", "txt")]


@pytest.mark.parametrize("at", [512 + 100, 512 + 700, 1536 + 100, 1536 * 5, 1536 * 5 + 200, 1536 * 40])
def test_a_cut_tar(tmp_path, at):
    with pytest.raises(
        CaptionSourceError, match=r"00000\.tar: a whole tar file is expected: .*(end of data|breaks off)"
    ):
        read(tmp_path, tar(LONG)[:at])


def test_the_padding_behind_the_end_mark_may_be_missing(tmp_path):
    assert read(tmp_path, tar(LONG)[: 1536 * 40 + 1024]).height == 20


def test_a_damaged_tar(tmp_path):
    content = bytearray(tar(LONG))
    content[1536 * 6 : 1536 * 6 + 512] = b"\x17" * 512
    with pytest.raises(CaptionSourceError, match=r"00000\.tar: a whole tar file is expected: .*at byte 9,216"):
        read(tmp_path, bytes(content))


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstandard.compress)])
def test_a_cut_compressed_tar(tmp_path, suffix, compress):
    packed = compress(tar([(f"{number}.txt", bytes(str(number), "ascii") * 999) for number in range(99)]))
    with pytest.raises(CaptionSourceError, match=rf"00000\.tar\.{suffix}: "):
        read(tmp_path, packed[: len(packed) // 2], f"00000.tar.{suffix}")


@pytest.mark.parametrize("content", [b"no tar", b"\0", b"\0" * 100, b"x" * 5000])
def test_what_is_no_tar(tmp_path, content):
    with pytest.raises(CaptionSourceError, match=r"00000\.tar: a whole tar file is expected"):
        read(tmp_path, content)


def test_a_tar_without_samples(tmp_path):
    with pytest.raises(CaptionSourceError, match="holds no captions"):
        read(tmp_path, tar([("README", b"nothing")]))
    with pytest.raises(CaptionSourceError, match=r"none of the 1 rows .* neither \.txt nor \.json"):
        read(tmp_path, tar([("1.jpg", JPEG)]))
