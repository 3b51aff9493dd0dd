"""How much of a source may be bad, where its images are, and how a recipe names its columns and files."""

import json
from itertools import chain

import fsspec
import polars as pl
import pytest
from pydantic import ValidationError

from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource


def written(folder, name, content):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(path, **settings):
    return pl.concat(read_captions([CaptionSource(name="web", path=str(path), **settings)]))


def lines(good, bad):
    """Good lines and blank ones, mixed."""
    return "\n".join(chain(*([f"caption {number}", *[" "] * (bad // good)] for number in range(good)))) + "\n"


def test_a_source_with_too_many_bad_rows_is_refused(tmp_path):
    file = written(tmp_path, "a.txt", "a dog\n" * 8 + "\na cat\n \n")
    assert read(file, max_bad_share=0.2).height == 11
    assert read(file, max_bad_share=2 / 11).height == 11
    with pytest.raises(CaptionSourceError) as raised:
        read(file, max_bad_share=0.1)
    assert str(raised.value) == (
        f"source web: {file}: 2 of the 11 rows read (18.2%) have no usable caption, more than max_bad_share 0.1 "
        "allows. The first: a.txt, row 8: the line is empty. Correct the source's format or columns, or raise its "
        "max_bad_share"
    )


@pytest.mark.parametrize(
    ("rows", "bad"), [(2, 1), (3, 1), (5, 2), (19, 9), (20, 10), (99, 10), (100, 10), (110, 11), (1000, 100)]
)
def test_by_default_a_tenth_or_ten_rows_may_be_bad_but_not_more_than_half(tmp_path, rows, bad):
    assert read(written(tmp_path, "a.txt", "\u3000\n" * bad + "a dog\n" * (rows - bad))).height == rows
    with pytest.raises(CaptionSourceError, match=rf"{bad + 1:,} of the {rows:,} rows|none of the {rows} rows"):
        read(written(tmp_path, "b.txt", "\u3000\n" * (bad + 1) + "a dog\n" * (rows - bad - 1)))


def test_no_bad_row_may_be_allowed(tmp_path):
    assert read(written(tmp_path, "a.txt", "a dog\n"), max_bad_share=0).height == 1
    with pytest.raises(CaptionSourceError, match="1 of the 1,000 rows"):
        read(written(tmp_path, "b.txt", "a dog\n" * 999 + " \n"), max_bad_share=0)


def test_the_bad_share_is_that_of_all_files_of_a_source(tmp_path):
    written(tmp_path, "a.txt", "\n\u3000")
    written(tmp_path, "b.txt", "a dog\n" * 18)
    assert read(tmp_path / "*.txt").height == 20
    with pytest.raises(CaptionSourceError, match=r"The first: a\.txt, row 0: the line is empty"):
        read(tmp_path / "*.txt", max_bad_share=0.01)


def test_each_source_has_its_own_bad_share(tmp_path):
    good, bad = written(tmp_path, "a.txt", "a dog\n" * 99), written(tmp_path, "b.txt", "a dog\n \n \n")
    with pytest.raises(CaptionSourceError, match=r"source second: .*b\.txt: 2 of the 3 rows"):
        list(read_captions([CaptionSource(name=n, path=str(p)) for n, p in (("first", good), ("second", bad))]))


def test_a_source_without_any_caption_is_refused_whatever_its_bad_share(tmp_path):
    with pytest.raises(CaptionSourceError, match=r"none of the 3 rows has a usable caption. The first: a\.txt, row 0"):
        read(written(tmp_path, "a.txt", "\n\n\u3000\n"), max_bad_share=1)


@pytest.mark.parametrize(("bad_per_good", "frames_read"), [(2, 0), (0, 2)])
def test_a_large_source_of_mostly_bad_rows_is_refused_before_its_end(tmp_path, bad_per_good, frames_read):
    first = lines(20_000, 20_000 * bad_per_good) if bad_per_good else "a dog\n" * 60_000
    file = written(tmp_path, "a.txt", first + " \n" * 40_000)
    frames = []
    with pytest.raises(CaptionSourceError, match="so far" if bad_per_good else r"40,000 of the 100,000 rows read \("):
        frames.extend(read_captions([CaptionSource(name="web", path=str(file))]))
    assert len(frames) == frames_read


def test_a_large_source_may_be_mostly_bad_when_it_is_allowed(tmp_path):
    assert read(written(tmp_path, "a.txt", lines(20_000, 40_000)), max_bad_share=0.7).height == 60_000


PLACES = {
    "1.jpg": "{folder}/1.jpg",
    "images/1.jpg": "{folder}/images/1.jpg",
    "/data/1.jpg": "/data/1.jpg",
    "https://e.org/1.jpg?size=2": "https://e.org/1.jpg?size=2",
    "s3://bucket/1.jpg": "s3://bucket/1.jpg",
    "data:image/png;base64,AAAA": "data:image/png;base64,AAAA",
    "odd:name.jpg": "{folder}/odd:name.jpg",
}


def with_images(*uris):
    return "".join(json.dumps({"caption": "a dog", "image": uri}) + "\n" for uri in uris)


@pytest.mark.parametrize(("settings", "root"), [({}, None), ({"image_root": "s3://b/i"}, "s3://b/i")])
def test_relative_images_start_at_their_root_or_file(tmp_path, settings, root):
    written(tmp_path, "a.jsonl", with_images(*PLACES, "", None))
    raw = read(tmp_path / "a.jsonl", columns={"text": "caption", "image": "image"}, **settings)
    places = [place.format(folder=root or tmp_path) for place in PLACES.values()]
    assert raw["image_uri"].to_list() == [*places, None, None]


def test_relative_images_on_another_filesystem():
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/crawl/part/a.jsonl", with_images("images/1.jpg").encode())
    memory.pipe_file("/crawl/part/images/1.jpg", b"JPEG")
    raw = read("memory://crawl/*/a.jsonl", columns={"image": "image"})
    with fsspec.open(raw["image_uri"][0]) as image:
        assert image.read() == b"JPEG"


def test_a_file_url(tmp_path):
    file = written(tmp_path, "a.jsonl", with_images("1.jpg"))
    raw = read(file.as_uri(), columns={"image": "image"})
    assert raw.select("source_file", "text", "image_uri").rows() == [("a.jsonl", "a dog", f"{tmp_path}/1.jpg")]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_columns_in_a_named_order(tmp_path, name, separator):
    rows = [("1.jpg", "0.25", "a dog", "0.125", "0.5"), ("2.jpg", "", "a cat", "much", "1")]
    file = written(tmp_path, name, "\n".join(separator.join(row) for row in rows))
    raw = read(
        file,
        header=False,
        column_names=["url", "clip", "text", "wm", "unsafe"],
        columns={
            "text": "text",
            "image": "url",
            "clip_similarity": "clip",
            "watermark_score": "wm",
            "nsfw_score": "unsafe",
        },
    )
    assert raw.select("text", "image_uri", "clip_similarity", "watermark_score", "nsfw_score").rows() == [
        ("a dog", f"{tmp_path}/1.jpg", 0.25, 0.125, 0.5),
        ("a cat", f"{tmp_path}/2.jpg", None, None, 1.0),
    ]


def test_a_first_record_may_be_bad_where_the_columns_are_named(tmp_path):
    file = written(tmp_path, "a.csv", '"stray" quote,1.jpg\na dog,2.jpg\n')
    settings = {"header": False, "column_names": ["caption", "url"], "max_bad_share": 0.5}
    assert read(file, **settings)["text"].to_list() == [None, "a dog"]


def test_column_names_need_a_file_without_header():
    with pytest.raises(ValidationError, match="header: false"):
        CaptionSource(name="web", path="a.tsv", column_names=["caption"])


@pytest.mark.parametrize("layout", ["cc3m", "cc12m"])
@pytest.mark.parametrize("name", ["a.tsv", "a"])
def test_two_columns_of_which_one_is_a_url_tell_their_layout(tmp_path, layout, name):
    row = {"cc3m": "[a] dog\thttps://e.org/1.jpg", "cc12m": "https://e.org/1.jpg\t[a] dog"}[layout]
    raw = read(written(tmp_path, name if layout == "cc12m" else "a.tsv", f"{row}\n{row}\n"))
    assert raw.select("text", "image_uri").rows() == [("[a] dog", "https://e.org/1.jpg")] * 2


def test_bad_lines_of_conceptual_captions(tmp_path):
    content = b"a dog\thttp://e.org/1.jpg\n\thttp://e.org/2.jpg\nalone\ncaf\xe9\thttp://e.org/3.jpg\na\tb\tc\n"
    raw = read(written(tmp_path, "a.tsv", content), format="cc3m", max_bad_share=1)
    assert raw["text"].to_list() == ["a dog", None, "alone", None, None]
    assert raw["problem"].to_list() == [
        None,
        "caption is empty",
        None,
        "caption is not valid UTF-8",
        "the line has 3 fields, expected are 2",
    ]


def test_lists_of_captions(tmp_path):
    items = [
        {"caption": ["a dog", None, "a pet"], "clip": [0.25, 0.5, 0.75]},
        {"caption": [], "clip": 0.5},
        {"caption": ["a cat", 7], "clip": [0.5]},
        {"caption": ["a bird"], "clip": 0.125},
    ]
    file = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, items)))
    raw = read(file, columns={"clip_similarity": "clip"}, max_bad_share=1)
    assert raw.select("source_row", "text", "clip_similarity", "problem").rows() == [
        (0, "a dog", 0.25, None),
        (0, None, 0.5, "caption is null"),
        (0, "a pet", 0.75, None),
        (1, None, 0.5, "caption is an empty list"),
        (2, "a cat", None, None),
        (2, None, None, "caption is a number, not a string"),
        (3, "a bird", 0.125, None),
    ]


def test_a_line_without_end_is_refused(tmp_path):
    with pytest.raises(CaptionSourceError, match="line 2 is longer than 16,777,216 characters"):
        read(written(tmp_path, "a.txt", "a dog\n" + "a" * (1 << 24)))
