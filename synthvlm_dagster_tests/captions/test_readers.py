"""Each format in its exact layout, every kind of bad row, and the errors for what is no caption file."""

import bz2
import gzip
import io
import json
import lzma
import os
from pathlib import Path

import fsspec
import polars as pl
import pytest
import zstandard

from synthvlm_dagster.captions.made_from import source_version
from synthvlm_dagster.captions.readers import RAW_COLUMNS, RAW_SCHEMA, caption_id, read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource

REAL = Path(__file__).parents[3] / "shared" / "data" / "captions"

LLAVA = [
    {
        "id": "004539375",
        "image": "00453/004539375.jpg",
        "conversations": [
            {"from": "human", "value": "Render a clear and concise summary of the photo.\n<image>"},
            {"from": "gpt", "value": "select luxury furniture 3 - inch gel memory foam mattress topper"},
        ],
    },
    {
        "id": "wgByO4Y_0",
        "conversations": [
            {"from": "human", "value": "Name a colour."},
            {"from": "gpt", "value": "Blue."},
            {"from": "human", "value": "Another one."},
            {"from": "gpt", "value": "Green."},
        ],
    },
]
SYNTHVLM = [{"id": 1, "caption": "The bus is white and red."}, {"id": 2, "caption": "The dog is brown."}]
COCO = {
    "info": {"description": "COCO 2017 Dataset"},
    "images": [{"id": 179765, "file_name": "000000179765.jpg", "height": 480, "width": 640}],
    "licenses": [],
    "annotations": [
        {"image_id": 179765, "id": 38, "caption": "A black Honda motorcycle parked in front of a garage."},
        {"image_id": 190236, "id": 39, "caption": "An office cubicle.\n"},
    ],
}
SBU = {
    "image_urls": ["http://static.flickr.com/1.jpg", "http://static.flickr.com/2.jpg"],
    "user_ids": ["47889917@N08", "10054583@N00"],
    "captions": ["Mountains along the way to Ettal.", "The boats at Leigh."],
}
PARTIPROMPTS = (
    "Prompt\tCategory\tChallenge\tNote\n"
    "bond\tAbstract\tBasic\tBiology-inspired concepts\n"
    'a logo for a club called "The Rumbury Wanderers"\tWorld Knowledge\tImagination\t\n'
)
CC3M = "a very typical bus station\thttp://example.org/1.jpg\nsierra looked stunning\thttp://example.org/2.jpg\n"
CC12M = "http://example.org/1.jpg\ta bus station, <PERSON>\nhttp://example.org/2.jpg\tshe looked stunning\n"
CSV = 'uid,caption,url,clip\r\n1,"a dog, running",http://e.org/1.jpg,0.31\r\n2,"he said ""hi""\nand left",,\r\n'
JSONL = (
    '{"text": "a dog", "url": "img/1.jpg", "similarity": 0.3, "wm": 0.125, "unsafe": 1}\n'
    '{"text": ["a cat", "a pet"], "url": null, "similarity": "0.25", "wm": null}\n'
)
TXT = "a dog\r\na cat\nlast line without an end"


def read(path, **settings):
    """One source's rows, however bad."""
    source = CaptionSource(**{"name": "source", "path": str(path), "max_bad_share": 1, **settings})
    return pl.concat(read_captions([source]))


def written(folder, name, content):
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def parquet(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


COLUMNS = {"text": "text", "image": "url", "clip_similarity": "similarity"}
JSONL_COLUMNS = COLUMNS | {"watermark_score": "wm", "nsfw_score": "unsafe"}
TABLE = pl.DataFrame({"text": ["a dog", "a cat"], "url": ["http://e.org/1.jpg", None], "similarity": [0.3125, None]})

# Name, content, settings, and what is read: row, text, image (relative ones start at the file's folder), similarity,
# watermark and nsfw score.
FORMATS = {
    "llava": (
        "llava.json",
        json.dumps(LLAVA),
        {},
        [
            (0, "select luxury furniture 3 - inch gel memory foam mattress topper", "00453/004539375.jpg"),
            (1, "Blue."),
            (1, "Green."),
        ],
    ),
    "synthvlm": (
        "synthvlm.json",
        json.dumps(SYNTHVLM, indent=4),
        {},
        [(0, "The bus is white and red."), (1, "The dog is brown.")],
    ),
    "coco": (
        "coco.json",
        json.dumps(COCO),
        {},
        [
            (0, "A black Honda motorcycle parked in front of a garage.", "000000179765.jpg"),
            (1, "An office cubicle.\n"),
        ],
    ),
    "sbu": (
        "sbu-captions-all.json",
        json.dumps(SBU),
        {},
        [
            (0, "Mountains along the way to Ettal.", "http://static.flickr.com/1.jpg"),
            (1, "The boats at Leigh.", "http://static.flickr.com/2.jpg"),
        ],
    ),
    "partiprompts": (
        "partiprompts.tsv",
        PARTIPROMPTS,
        {},
        [(0, "bond"), (1, 'a logo for a club called "The Rumbury Wanderers"')],
    ),
    "cc3m": (
        "Train_GCC-training.tsv",
        CC3M,
        {},
        [
            (0, "a very typical bus station", "http://example.org/1.jpg"),
            (1, "sierra looked stunning", "http://example.org/2.jpg"),
        ],
    ),
    "cc12m": (
        "cc12m.tsv",
        CC12M,
        {},
        [
            (0, "a bus station, <PERSON>", "http://example.org/1.jpg"),
            (1, "she looked stunning", "http://example.org/2.jpg"),
        ],
    ),
    "tsv": (
        "web.tsv",
        CC3M,
        {"header": False, "columns": {"text": "column_1", "image": "column_2"}},
        [
            (0, "a very typical bus station", "http://example.org/1.jpg"),
            (1, "sierra looked stunning", "http://example.org/2.jpg"),
        ],
    ),
    "csv": (
        "table.csv",
        CSV,
        {"columns": {"image": "url", "clip_similarity": "clip"}},
        [(0, "a dog, running", "http://e.org/1.jpg", 0.31), (1, 'he said "hi"\nand left')],
    ),
    "jsonl": (
        "lines.jsonl",
        JSONL,
        {"columns": JSONL_COLUMNS},
        [
            (0, "a dog", "img/1.jpg", 0.3, 0.125, 1.0),
            (1, "a cat", None, 0.25),
            (1, "a pet", None, 0.25),
        ],
    ),
    "txt": (
        "captions.txt",
        TXT,
        {},
        [(0, "a dog"), (1, "a cat"), (2, "last line without an end")],
    ),
    "parquet": (
        "table.parquet",
        parquet(TABLE),
        {"columns": COLUMNS},
        [(0, "a dog", "http://e.org/1.jpg", 0.3125), (1, "a cat")],
    ),
}


def facts(expected, folder):
    """Whole rows of the last six columns of a format's example."""
    rows = [(*row, *(None,) * (6 - len(row))) for row in expected]
    return [
        (place, text, f"{folder}/{uri}" if uri and "://" not in uri else uri, *scores)
        for place, text, uri, *scores in rows
    ]


def texts(expected):
    return [row[1] for row in expected]


@pytest.mark.parametrize("named", [True, False], ids=["named", "auto"])
@pytest.mark.parametrize("layout", FORMATS)
def test_formats(tmp_path, layout, named):
    name, content, settings, expected = FORMATS[layout]
    raw = read(written(tmp_path, name, content), format=layout if named else "auto", **settings)
    assert raw.schema == RAW_SCHEMA
    assert list(RAW_COLUMNS) == raw.columns
    columns = ("source_row", "text", "image_uri", "clip_similarity", "watermark_score", "nsfw_score")
    assert raw.select(columns).rows() == facts(expected, tmp_path)
    assert raw["problem"].null_count() == raw.height
    assert set(raw.select("source", "source_file").rows()) == {("source", name)}
    assert raw["caption_id"].to_list() == [caption_id("source", text) for text in raw["text"]]
    assert raw["caption_id"].str.contains("^[0-9a-f]{16}$").all()


@pytest.mark.parametrize(
    "layout", ["llava", "synthvlm", "coco", "sbu", "partiprompts", "cc3m", "cc12m", "tsv", "jsonl"]
)
def test_formats_are_told_apart_by_content_alone(tmp_path, layout):
    _, content, settings, expected = FORMATS[layout]
    raw = read(written(tmp_path, "captions", content), **settings)
    assert raw["text"].to_list() == texts(expected)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(
    ("extension", "compress"),
    [("gz", gzip.compress), ("zst", zstandard.compress), ("bz2", bz2.compress), ("xz", lzma.compress)],
)
def test_compressed_files(tmp_path, layout, extension, compress):
    name, content, settings, expected = FORMATS[layout]
    packed = compress(content if isinstance(content, bytes) else content.encode())
    raw = read(written(tmp_path, f"{name}.{extension}", packed), **settings)
    assert raw["text"].to_list() == texts(expected)


@pytest.mark.parametrize("layout", FORMATS)
def test_files_on_another_filesystem(layout):
    name, content, settings, expected = FORMATS[layout]
    fsspec.filesystem("memory").pipe_file(
        f"/captions/{name}", content if isinstance(content, bytes) else content.encode()
    )
    raw = read(f"memory://captions/{name}", **settings)
    assert raw["text"].to_list() == texts(expected)
    assert set(raw["source_file"]) == {name}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    assert read(written(tmp_path, "a.txt", "\ufeffa dog"))["text"].to_list() == ["a dog"]
    assert read(written(tmp_path, "a.csv", "\ufeffcaption\na cat"))["text"].to_list() == ["a cat"]
    assert read(written(tmp_path, "a.json", "\ufeff" + json.dumps(SYNTHVLM))).height == 2


def test_globs_read_files_in_order_and_name_them_with_their_folder(tmp_path):
    for name in ("b/part.txt", "a/part.txt", "a/other.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, name, f"from {name}")
    raw = read(tmp_path / "*" / "*.txt")
    assert raw.select("source_file", "text").rows() == [
        ("a/part.txt", "from a/part.txt"),
        ("b/part.txt", "from b/part.txt"),
    ]


def test_a_glob_on_another_filesystem():
    memory = fsspec.filesystem("memory")
    for name in ("one.txt", "two.txt"):
        memory.pipe_file(f"/globbed/{name}", name.encode())
    assert read("memory://globbed/*.txt")["text"].to_list() == ["one.txt", "two.txt"]


def test_sources_follow_each_other_in_the_recipes_order(tmp_path):
    file = written(tmp_path, "a.txt", "a dog")
    raw = pl.concat(read_captions([CaptionSource(name=name, path=str(file)) for name in ("web", "coco")]))
    assert raw["source"].to_list() == ["web", "coco"]
    assert raw["caption_id"].n_unique() == 2


def test_the_same_caption_has_the_same_id_wherever_it_is_found(tmp_path):
    one = read(written(tmp_path, "a.txt", "a cat\na dog"))
    other = read(written(tmp_path, "b.jsonl", '{"caption": "a dog"}'))
    assert one["caption_id"][1] == other["caption_id"][0]
    assert one["caption_id"][1] == caption_id("source", "a dog") == "e05f4247b0e03342"


def test_limit(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt"):
        written(tmp_path, name, f"one of {name}\ntwo of {name}")
    raw = read(tmp_path / "*.txt", limit=3)
    assert raw["text"].to_list() == ["one of a.txt", "two of a.txt", "one of b.txt"]


def test_progress_is_told_per_file(tmp_path):
    told = []
    file = written(tmp_path, "a.txt", "a dog\na cat")
    assert len(list(read_captions([CaptionSource(name="web", path=str(file))], on_progress=told.append))) == 1
    assert told == ["source web: a.txt (format txt): 2 rows"]


BAD_VALUES = [
    (None, "is null"),
    ("", "is empty"),
    (" \t\n", "is empty"),
    (7, "is a number, not a string"),
    (True, "is a boolean, not a string"),
    ([["a dog"]], "is a list, not a string"),
    ({"en": "a dog"}, "is an object, not a string"),
    ("half a \ud83d pair", "is not valid UTF-8"),
]


@pytest.mark.parametrize(("value", "problem"), BAD_VALUES, ids=[problem for _, problem in BAD_VALUES])
@pytest.mark.parametrize("layout", ["llava", "synthvlm", "coco", "jsonl"])
def test_bad_values(tmp_path, layout, value, problem):
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": value}]
    good_turns = [{"from": "gpt", "value": "good"}]
    content = {
        "llava": [{"conversations": turns, "image": "1.jpg"}, {"conversations": good_turns}],
        "synthvlm": [{"caption": value, "image": "1.jpg"}, {"caption": "good"}],
        "coco": {
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "annotations": [{"caption": value, "image_id": 1}, {"caption": "good"}],
        },
        "jsonl": [{"caption": value, "image": "1.jpg"}, {"caption": "good"}],
    }[layout]
    text = "\n".join(map(json.dumps, content)) if layout == "jsonl" else json.dumps(content)
    columns = {"columns": {"image": "image"}} if layout == "jsonl" else {}
    raw = read(written(tmp_path, "file", text), format=layout, **columns)
    field = "the gpt value" if layout == "llava" else "caption"
    assert raw.select("source_row", "text", "image_uri", "problem").rows() == [
        (0, None, f"{tmp_path}/1.jpg", f"{field} {problem}"),
        (1, "good", None, None),
    ]
    assert raw["caption_id"].is_unique().all()


@pytest.mark.parametrize(
    ("layout", "items", "problems"),
    [
        (
            "llava",
            [{"id": 1}, {"conversations": "no"}, {"conversations": []}, "text", {"conversations": [{"from": "gpt"}]}],
            [
                "conversations is missing or not a list",
                "conversations is missing or not a list",
                "conversations has no turn of gpt",
                "the item is not a JSON object",
                "the gpt value is missing",
            ],
        ),
        ("synthvlm", [{"id": 1}, None], ["caption is missing", "the item is not a JSON object"]),
        ("coco", [{"id": 1}, 5], ["caption is missing", "the annotation is not a JSON object"]),
    ],
)
def test_bad_items(tmp_path, layout, items, problems):
    good = {"caption": "good", "conversations": [{"from": "gpt", "value": "good"}]}
    content = [*items, good]
    raw = read(
        written(tmp_path, "a.json", json.dumps({"annotations": content} if layout == "coco" else content)),
        format=layout,
    )
    assert raw["problem"].to_list() == [*problems, None]
    assert raw["text"].to_list() == [None] * len(items) + ["good"]


def test_bad_json_lines(tmp_path):
    lines = [
        b'{"caption": "good"}',
        b'{"caption": "bro',
        b"",
        b"[1]",
        b'{"caption": "caf\xe9"}',
        b'{"other": 1}',
        b"[" * 99999,
    ]
    raw = read(written(tmp_path, "a.jsonl", b"\n".join(lines) + b"\n"))
    assert raw["problem"].to_list() == [
        None,
        "the line is not valid JSON",
        "the line is empty",
        "the item is not a JSON object",
        "the line is not valid UTF-8",
        "caption is missing",
        "the line is not valid JSON",
    ]


def test_bad_lines_of_text(tmp_path):
    raw = read(written(tmp_path, "a.txt", b"good\n\n  \ncaf\xe9\ncaf\xc3\xa9\n"))
    assert raw["text"].to_list() == ["good", None, None, None, "café"]
    assert raw["problem"].to_list()[1:4] == ["the line is empty", "the line is empty", "the line is not valid UTF-8"]


def test_bad_lines_of_tsv(tmp_path):
    lines = [
        b"url\tcaption",
        b"1.jpg\tgood",
        b"2.jpg",
        b"3.jpg\ta\tb",
        b"",
        b"4.jpg\t",
        b"5.jpg\tcaf\xe9",
        b"caf\xe9\tstill good",
    ]
    raw = read(written(tmp_path, "a.tsv", b"\n".join(lines)), columns={"image": "url"})
    assert raw.select("text", "image_uri", "problem").rows() == [
        ("good", f"{tmp_path}/1.jpg", None),
        (None, f"{tmp_path}/2.jpg", "caption is missing"),
        (None, None, "the line has 3 fields, expected are 2"),
        (None, None, "the line is empty"),
        (None, f"{tmp_path}/4.jpg", "caption is empty"),
        (None, f"{tmp_path}/5.jpg", "caption is not valid UTF-8"),
        ("still good", None, None),
    ]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"quoted ""twice"" here"', 'quoted "twice" here'),
        ('"a" and "b"', '"a" and "b"'),
        ('"opened only', '"opened only'),
        ('"', '"'),
    ],
)
def test_quotes_in_tsv(tmp_path, field, text):
    assert read(written(tmp_path, "a.tsv", f"caption\n{field}\nlast"))["text"].to_list() == [text, "last"]


def test_bad_records_of_csv(tmp_path):
    lines = [
        b"caption,url",
        b'"stray" quote,1.jpg',
        b"good,2.jpg",
        b"a,b,c",
        b"",
        b"caf\xe9,3.jpg",
        b'"never closed,4.jpg',
    ]
    raw = read(written(tmp_path, "a.csv", b"\n".join(lines)))
    problems = raw["problem"].to_list()
    assert problems[0].startswith("the record is not valid CSV")
    assert problems[1:5] == [
        None,
        "the line has 3 fields, expected are 2",
        "the line is empty",
        "caption is not valid UTF-8",
    ]
    assert problems[5].startswith("the record is not valid CSV")


def test_bad_values_of_parquet(tmp_path):
    frame = pl.DataFrame({"caption": ["good", None, "", " "]})
    raw = read(written(tmp_path, "a.parquet", parquet(frame)))
    assert raw["problem"].to_list() == [None, "caption is null", "caption is empty", "caption is empty"]


@pytest.mark.parametrize("kind", ["string", "binary"])
def test_text_of_parquet_that_is_not_utf8(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([b"good", b"caf\xe9", None], type=pa.binary())
    if kind == "string":
        column = pa.Array.from_buffers(pa.string(), 3, column.buffers())
    pq.write_table(pa.table({"caption": column}), tmp_path / "a.parquet")
    raw = read(tmp_path / "a.parquet")
    assert raw["text"].to_list() == ["good", None, None]
    assert raw["problem"].to_list() == [None, "caption is not valid UTF-8", "caption is null"]


def test_numbers_and_similarities_that_are_none(tmp_path):
    content = "\n".join(json.dumps({"caption": "a", "clip": value}) for value in (0.5, "x", None, True, [1], 1e999))
    raw = read(written(tmp_path, "a.jsonl", content), columns={"clip_similarity": "clip"})
    assert raw["clip_similarity"].to_list() == [0.5, None, None, None, None, None]


ERRORS = {
    "a missing file": ("gone.json", None, {}, "no such file"),
    "a glob without a match": ("*.json", None, {}, "no file matches"),
    "a folder": ("", None, {}, r"is a folder\. Name its files"),
    "no JSON": ("a.json", "[{", {"format": "synthvlm"}, "a.json: line 1, column 3 is not valid JSON"),
    "a cut JSON": ("a.json", json.dumps(SYNTHVLM)[:-9], {}, "line 1, column 86 .*: the file ends before its JSON does"),
    "a cut COCO": ("a.json", json.dumps(COCO)[:-9], {}, "the file ends before its JSON does"),
    "a cut SBU": ("a.json", json.dumps(SBU)[:-9], {}, "the file ends before its JSON does"),
    "a number of JSON's foes": (
        "a.json",
        '[{"caption": "a"},\n {"caption": NaN}]',
        {},
        "line 2, column 14 .*'.*caption",
    ),
    "more than JSON": ("a.json", '[{"caption": "a"}] and more', {}, "line 1, column 20 is not valid JSON"),
    "an empty JSON": ("a.json", " ", {"format": "llava"}, "it is empty and holds no captions"),
    "other fields": ("a.json", '[{"caption": "a"}]', {"columns": {"image": "url"}}, "no column url; .*columns.image"),
    "an object for a list": ("a.json", "{}", {"format": "synthvlm"}, "a JSON list is expected"),
    "a list for an object": ("a.json", "[]", {"format": "coco"}, "JSON object is expected .* found a JSON list"),
    "an object without annotations": ("a.json", '{"images": []}', {}, "list `annotations` is expected.* with images"),
    "annotations that are no list": ("a.json", '{"annotations": {"id": 1}}', {}, "list `annotations` is expected"),
    "no annotations": ("a.json", '{"annotations": []}', {}, "holds no captions"),
    "annotations without captions": ("a.json", '{"annotations": [{"id": 1}]}', {}, "no item has the field caption"),
    "SBU without urls": ("a.json", '{"captions": ["a dog"]}', {"format": "sbu"}, "list `image_urls` is expected"),
    "SBU of fewer urls": (
        "a.json",
        '{"captions": ["a", "b", "c"], "image_urls": ["1.jpg"]}',
        {},
        "captions has 3 items and image_urls 1 ",
    ),
    "SBU of fewer captions": (
        "a.json",
        '{"image_urls": ["1.jpg", "2.jpg"], "captions": ["a"]}',
        {},
        "captions has 1 items and image_urls 2 ",
    ),
    "an empty SBU": ("a.json", '{"image_urls": [], "captions": []}', {}, "holds no captions"),
    "another list": ("a.json", json.dumps(SYNTHVLM), {"format": "llava"}, "no item has the field conversations"),
    "an unknown list": ("a.json", '[{"text": "a"}]', {}, r"no column caption; columns are text\. .*\{text: text\}"),
    "an unknown file": ("a.bin", b"\x01\x02", {}, "format is one of"),
    "a wrong column of csv": ("a.csv", "text,url\na,b", {}, "no column caption; columns are text, url.*columns.text"),
    "a wrong column of tsv": ("a.tsv", "a\tb", {"header": False}, "columns are column_1, column_2"),
    "a wrong image column": ("a.csv", "caption\na", {"columns": {"image": "url"}}, "columns.image"),
    "a wrong field": ("a.jsonl", '{"text": "a"}\n', {}, "no column caption; columns are text"),
    "a wrong column of parquet": ("a.parquet", parquet(TABLE), {}, "columns are text, url, similarity"),
    "too few column names": ("a.tsv", "a\tb", {"header": False, "column_names": ["text"]}, "columns are text"),
    "no PartiPrompts": ("a.tsv", "caption\na", {"format": "partiprompts"}, "no column Prompt; columns are caption"),
    "no parquet": ("a.parquet", "PAR1 and more text", {}, "a parquet file is expected"),
    "no gzip": ("a.txt.gz", "text", {}, "cannot be read"),
    "a cut gzip": ("a.txt.gz", gzip.compress(b"text" * 99)[:-9], {}, "cannot be read"),
    "a cut bzip2": ("a.txt.bz2", bz2.compress(b"text" * 99)[:-9], {}, "cannot be read"),
    "a cut xz": ("a.txt.xz", lzma.compress(b"text" * 99)[:-9], {}, "cannot be read"),
    "no xz": ("a.txt.xz", "text", {}, "cannot be read"),
    "a cut zstd": ("a.txt.zst", zstandard.compress(b"text" * 99)[:-9], {}, "cannot be read"),
    "no zstd": ("a.txt.zst", "text", {}, "cannot be read"),
    "an empty text": ("a.txt", "", {}, "it is empty and holds no captions"),
    "an empty csv": ("a.csv", "", {}, "it is empty and holds no captions"),
    "an empty list": ("a.json", "[]", {"format": "llava"}, "holds no captions"),
    "an empty parquet": (
        "a.parquet",
        parquet(pl.DataFrame({"caption": []}, schema={"caption": pl.String})),
        {},
        "holds no captions",
    ),
    "bad rows alone": ("a.txt", "\n \n\u3000", {}, r"none of the 3 rows .* a\.txt, row 0: the line is empty"),
    "numbers alone": ("a.parquet", parquet(pl.DataFrame({"caption": [1]})), {}, "caption is a number, not a string"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(tmp_path, case):
    name, content, settings, message = ERRORS[case]
    if content is not None:
        written(tmp_path, name, content)
    with pytest.raises(CaptionSourceError, match=message) as raised:
        read(tmp_path / name if name else tmp_path, **settings)
    assert "source source: " in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_an_unknown_filesystem_is_named():
    with pytest.raises(CaptionSourceError, match=r"nowhere://captions\.json: cannot be opened"):
        read("nowhere://captions.json")


def test_the_source_version_follows_files_and_settings(tmp_path):
    file = written(tmp_path, "a.txt", "a dog")

    def version(**settings):
        return source_version([CaptionSource(name="web", path=str(tmp_path / "*.txt"), **settings)])

    first = version()
    assert version() == first
    assert version(limit=5) != first
    os.utime(file, ns=(1, 1))
    assert version() == first, "it holds what it held"
    size_and_times = file.stat()
    file.write_text("a hog")
    os.utime(file, ns=(size_and_times.st_atime_ns, size_and_times.st_mtime_ns))
    changed = version()
    assert changed != first
    written(tmp_path, "b.txt", "a cat")
    assert version() != changed


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real captions in ../shared/data/captions")
def test_real_captions():
    names = {"coco": "coco*.json.gz", "partiprompts": "partiprompts.tsv", "synthvlm": "synthvlm_init_caption.json"}
    raw = pl.concat(read_captions([CaptionSource(name=name, path=str(REAL / path)) for name, path in names.items()]))
    assert dict(raw["source"].value_counts().iter_rows()) == {"coco": 25_014, "partiprompts": 1_632, "synthvlm": 4}
    assert raw["problem"].null_count() == raw.height
    assert raw.filter(source="coco")["image_uri"].null_count() == 0
