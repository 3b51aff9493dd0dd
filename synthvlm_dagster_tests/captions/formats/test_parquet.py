"""Parquet: the published layouts in their exact schemas, several captions a row, and every kind of bad value."""

import datetime
import decimal
import gzip
import json

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.captions.formats import FORMATS
from synthvlm_dagster.captions.parsing.arrow import read_batches
from synthvlm_dagster.captions.parsing.web_tables import Selection
from synthvlm_dagster.captions.readers import RAW_SCHEMA, file_format, read_captions
from synthvlm_dagster.captions.rows import ROW_SCHEMA, Row, to_frames
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

FACTS = ("source_row", "text", "image_uri", "clip_similarity", "watermark_score", "nsfw_score")

COYO = pa.table(
    {
        "id": [841814333321, 8589934592],
        "url": ["https://e.org/pomsky.jpg", "https://e.org/cat.png"],
        "text": ["A Pomsky dog sitting in a field of orange flowers", "a cat"],
        "width": [1000, 640],
        "height": [988, 480],
        "image_phash": ["c9b6a7d8469c1959", "0"],
        "text_length": [49, 5],
        "word_count": [10, 2],
        "num_tokens_bert": [13, 4],
        "num_tokens_gpt": [12, 3],
        "num_faces": [0, 0],
        "clip_similarity_vitb32": [0.4296875, None],
        "clip_similarity_vitl14": [0.35205078125, 0.25],
        "nsfw_score_opennsfw2": [0.0003144741, 0.5],
        "nsfw_score_gantman": [0.033, 0.25],
        "watermark_score": [0.125, None],
        "aesthetic_score_laion_v2": [5.4, 4.0],
    },
    pa.schema(
        [
            ("id", pa.int64()),
            ("url", pa.string()),
            ("text", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("image_phash", pa.string()),
            *[(name, pa.int32()) for name in ("text_length", "word_count", "num_tokens_bert", "num_tokens_gpt")],
            ("num_faces", pa.int32()),
            *[(name, pa.float32()) for name in ("clip_similarity_vitb32", "clip_similarity_vitl14")],
            *[(name, pa.float32()) for name in ("nsfw_score_opennsfw2", "nsfw_score_gantman")],
            ("watermark_score", pa.float32()),
            ("aesthetic_score_laion_v2", pa.float32()),
        ]
    ),
)
LAION_400M = pa.table(
    {
        "SAMPLE_ID": [2317000000338.0, 1.0],
        "URL": ["http://e.org/1.jpg", "http://e.org/2.jpg"],
        "TEXT": ["a dog", "a cat"],
        "HEIGHT": [225.0, None],
        "WIDTH": [300.0, None],
        "LICENSE": ["?", "cc-by"],
        "NSFW": ["UNLIKELY", "UNSURE"],
        "similarity": [0.328125, 0.3125],
    }
)
LAION_AESTHETIC = pa.table(
    {
        "URL": ["http://e.org/1.jpg"],
        "TEXT": ["a dog"],
        "WIDTH": pa.array([640], pa.int32()),
        "HEIGHT": pa.array([480], pa.int32()),
        "similarity": [0.328125],
        "hash": [-8277163212263021571],
        "punsafe": pa.array([0.0625], pa.float32()),
        "pwatermark": pa.array([0.75], pa.float32()),
        "aesthetic": pa.array([6.5], pa.float32()),
    }
)
LAION_COCO = pa.table(
    {
        "URL": ["http://e.org/1.jpg", "http://e.org/2.jpg", "http://e.org/3.jpg"],
        "TEXT": ["Cheap sofa", "IMG_2", "three"],
        "top_caption": ["A red sofa in a room.", "A cat.", "not among them"],
        "all_captions": [["a sofa", "A red sofa in a room.", "furniture"], ["A cat.", "A cat."], ["x"]],
        "all_similarities": [[0.25, 0.375, 0.125], [0.3125, 0.5], [0.5]],
        "WIDTH": [640, 320, 1],
        "HEIGHT": [480, 240, 1],
        "similarity": [0.28125, 0.5, None],
        "hash": [1, 2, 3],
        "pwatermark": [0.5, 0.25, 1.0],
        "punsafe": [0.0625, 0.0, 0.0],
    }
)
DATACOMP = pa.table(
    {
        "uid": ["335db346a49045476677662a0067ce68"],
        "url": ["https://e.org/1.png"],
        "text": ["untitled image"],
        "original_width": [980],
        "original_height": [405],
        "clip_b32_similarity_score": pa.array([0.233643], pa.float32()),
        "clip_l14_similarity_score": pa.array([0.132446], pa.float32()),
        "face_bboxes": pa.array([[]], pa.list_(pa.list_(pa.float64()))),
        "sha256": ["695d74e8c323a977f11e958f9a185b8cbd454cd29197924b97f6618079f48159"],
    }
)

LAYOUTS = {
    "coyo": (
        COYO,
        [
            (0, COYO["text"][0].as_py(), "https://e.org/pomsky.jpg", 0.4296875, 0.125, pytest.approx(0.0003144741)),
            (1, "a cat", "https://e.org/cat.png", None, None, 0.5),
        ],
    ),
    "laion": (
        LAION_400M,
        [
            (0, "a dog", "http://e.org/1.jpg", 0.328125, None, None),
            (1, "a cat", "http://e.org/2.jpg", 0.3125, None, None),
        ],
    ),
    "laion, with scores": (LAION_AESTHETIC, [(0, "a dog", "http://e.org/1.jpg", 0.328125, 0.75, 0.0625)]),
    "laion-coco": (
        LAION_COCO,
        [
            (0, "A red sofa in a room.", "http://e.org/1.jpg", 0.375, 0.5, 0.0625),
            (1, "A cat.", "http://e.org/2.jpg", 0.3125, 0.25, 0.0),
            (2, "not among them", "http://e.org/3.jpg", None, 1.0, 0.0),
        ],
    ),
    "datacomp": (DATACOMP, [(0, "untitled image", "https://e.org/1.png", pytest.approx(0.233643), None, None)]),
}


def read(path, **settings):
    return pl.concat(read_captions([CaptionSource(name="source", path=str(path), **settings)]))


def written(folder, table, name="table.parquet"):
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), folder / name)
    return folder / name


@pytest.mark.parametrize("named", [True, False], ids=["named", "auto"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(tmp_path, layout, named):
    table, expected = LAYOUTS[layout]
    raw = read(written(tmp_path, table), format=layout.partition(",")[0] if named else "auto")
    assert raw.schema == RAW_SCHEMA
    assert raw.select(FACTS).rows() == expected
    assert raw["problem"].null_count() == raw.height


@pytest.mark.parametrize("layout", LAYOUTS)
def test_detection_from_the_schema(tmp_path, layout):
    source = CaptionSource(name="source", path=str(written(tmp_path, LAYOUTS[layout][0])))
    assert file_format(find_files(source)[0], source) == layout.partition(",")[0]


def test_a_table_of_no_published_layout_is_plain_parquet(tmp_path):
    path = written(tmp_path, {"caption": ["a dog"], "url": ["http://e.org/1.jpg"], "text": ["no"]})
    source = CaptionSource(name="source", path=str(path))
    assert file_format(find_files(source)[0], source) == "parquet"
    assert read(path).select(FACTS).rows() == [(0, "a dog", None, None, None, None)]


@pytest.mark.parametrize("named", [True, False], ids=["named", "auto"])
@pytest.mark.parametrize(
    ("layout", "columns", "expected"),
    [
        ("coyo", {"clip_similarity": "clip_similarity_vitl14"}, (COYO["text"][0].as_py(), 0.35205078125, 0.125)),
        ("coyo", {"clip_similarity": None, "watermark_score": None}, (COYO["text"][0].as_py(), None, None)),
        ("coyo", {"text": "image_phash"}, ("c9b6a7d8469c1959", 0.4296875, 0.125)),
        ("datacomp", {"clip_similarity": "clip_l14_similarity_score"}, ("untitled image", 0.132446, None)),
        ("laion-coco", {"text": "TEXT"}, ("Cheap sofa", 0.28125, 0.5)),
        ("laion-coco", {"clip_similarity": "similarity"}, ("A red sofa in a room.", 0.28125, 0.5)),
        ("laion-coco", {"text": "TEXT", "clip_similarity": None}, ("Cheap sofa", None, 0.5)),
    ],
)
def test_columns_that_the_source_names_come_first(tmp_path, layout, columns, expected, named):
    path = written(tmp_path, LAYOUTS[layout][0])
    raw = read(path, format=layout if named else "auto", columns=columns)
    assert raw.select("text", "clip_similarity", "watermark_score").row(0) == pytest.approx(expected)
    assert raw["image_uri"][0] == LAYOUTS[layout][1][0][2]


def test_all_captions_of_laion_coco(tmp_path):
    raw = read(written(tmp_path, LAION_COCO), columns={"text": "all_captions"})
    assert raw.select(FACTS).rows() == [
        (0, "a sofa", "http://e.org/1.jpg", 0.25, 0.5, 0.0625),
        (0, "A red sofa in a room.", "http://e.org/1.jpg", 0.375, 0.5, 0.0625),
        (0, "furniture", "http://e.org/1.jpg", 0.125, 0.5, 0.0625),
        (1, "A cat.", "http://e.org/2.jpg", 0.3125, 0.25, 0.0),
        (1, "A cat.", "http://e.org/2.jpg", 0.5, 0.25, 0.0),
        (2, "x", "http://e.org/3.jpg", 0.5, 1.0, 0.0),
    ]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.binary())])
def test_a_list_of_captions_gives_a_row_for_each(tmp_path, kind):
    captions = [["a dog", None, " "], [], None, ["a cat", "a mouse"], ["a bird"], ["a cow"]]
    path = written(
        tmp_path,
        {
            "caption": pa.array(captions, pa.list_(pa.string())).cast(kind),
            "clip": [[0.5, 0.25, 0.125], [], [0.5], [0.75], [0.375], None],
            "url": ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"],
            "nsfw": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        },
    )
    columns = {"clip_similarity": "clip", "image": "url", "nsfw_score": "nsfw"}
    raw = read(path, columns=columns, max_bad_share=1, image_root="/images")
    assert raw.select("source_row", "text", "clip_similarity", "nsfw_score", "problem").rows() == [
        (0, "a dog", 0.5, 0.0, None),
        (0, None, 0.25, 0.0, "caption is null"),
        (0, None, 0.125, 0.0, "caption is empty"),
        (1, None, None, 0.1, "caption is an empty list"),
        (2, None, None, 0.2, "caption is null"),
        (3, "a cat", None, 0.3, None),
        (3, "a mouse", None, 0.3, None),
        (4, "a bird", 0.375, 0.4, None),
        (5, "a cow", None, 0.5, None),
    ]
    assert raw["image_uri"].to_list() == [f"/images/{row}.jpg" for row in raw["source_row"]]


def test_bad_texts(tmp_path):
    texts = ["good", None, "", " \t\n", "\u3000\x1c", "caf\u00e9", "\u200b"]
    raw = read(written(tmp_path, {"caption": texts}), max_bad_share=1)
    assert raw["text"].to_list() == ["good", None, None, None, None, "caf\u00e9", "\u200b"]
    empty = "caption is empty"
    assert raw["problem"].to_list() == [None, "caption is null", empty, empty, empty, None, None]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string(), pa.large_binary()], ids=str)
def test_text_that_is_not_utf8(tmp_path, kind):
    values = [b"good", b"caf\xe9", None, b"\xed\xa0\xbd", b"", "café".encode()]
    column = pa.array(values, pa.large_binary() if "large" in str(kind) else pa.binary())
    column = pa.Array.from_buffers(kind, len(values), column.buffers())
    raw = read(written(tmp_path, {"caption": column, "url": column}), columns={"image": "url"}, max_bad_share=1)
    assert raw["text"].to_list() == ["good", None, None, None, None, "café"]
    assert raw["problem"].to_list() == [
        None,
        "caption is not valid UTF-8",
        "caption is null",
        "caption is not valid UTF-8",
        "caption is empty",
        None,
    ]
    assert raw["image_uri"].to_list() == [f"{tmp_path}/good", None, None, None, None, f"{tmp_path}/café"]


def test_text_in_categories(tmp_path):
    column = pa.array(["a dog", None, "a dog", ""]).dictionary_encode()
    raw = read(written(tmp_path, {"caption": column}), max_bad_share=1)
    assert raw["text"].to_list() == ["a dog", None, "a dog", None]
    assert raw["problem"].to_list() == [None, "caption is null", None, "caption is empty"]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (1, "a number"),
        (0.5, "a number"),
        (decimal.Decimal("1.5"), "a number"),
        (True, "a boolean"),
        ([["a dog"]], "a list"),
        ({"en": "a dog"}, "an object"),
        (datetime.date(2026, 1, 1), "of type date32[day]"),
    ],
)
def test_values_that_are_no_strings(tmp_path, value, what):
    path = written(tmp_path, {"caption": [value, None]})
    with pytest.raises(CaptionSourceError, match="none of the 2 rows"):
        read(path)
    source = CaptionSource(name="source", path=str(path))
    rows = pl.concat(FORMATS["parquet"].read(find_files(source)[0], source))
    assert rows["problem"].to_list() == [f"caption is {what}, not a string", "caption is null"]
    assert rows["text"].null_count() == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([0.5, None, float("nan"), float("inf")]), [0.5, None, None, None]),
        (pa.array([0.5, None, 2.0, 0.25], pa.float16()), [0.5, None, 2.0, 0.25]),
        (pa.array([1, None, 0, -1], pa.int8()), [1, None, 0, -1]),
        (pa.array([decimal.Decimal("0.25"), None, None, None]), [0.25, None, None, None]),
        (pa.array(["0.25", " .5 ", "UNLIKELY", "nan"]), [0.25, 0.5, None, None]),
        (pa.array([True, False, None, True]), [None] * 4),
        (pa.array([[0.5], [], None, [0.5]]), [None] * 4),
        (pa.array([{"a": 1}, None, None, None]), [None] * 4),
        (pa.nulls(4), [None] * 4),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_numbers(tmp_path, values, expected):
    path = written(tmp_path, {"caption": ["a", "b", "c", "d"], "n": values})
    raw = read(path, columns={"clip_similarity": "n", "watermark_score": "n", "nsfw_score": "n"})
    for column in ("clip_similarity", "watermark_score", "nsfw_score"):
        assert raw[column].to_list() == expected


def test_row_groups_are_numbered_on(tmp_path):
    table = pa.table({"caption": [f"caption {number}" for number in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    raw = read(tmp_path / "a.parquet")
    assert raw["source_row"].to_list() == list(range(1000))
    assert raw["text"].to_list() == table["caption"].to_pylist()


def test_frames_stay_small_however_many_captions_a_row_has(tmp_path):
    path = written(tmp_path, {"caption": [["a"] * 70_000, ["b"] * 40_000]})
    source = CaptionSource(name="source", path=str(path))
    frames = list(FORMATS["parquet"].read(find_files(source)[0], source))
    assert max(frame.height for frame in frames) <= 50_000
    assert pl.concat(frames)["source_row"].value_counts().sort("source_row").rows() == [(0, 70_000), (1, 40_000)]


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstandard.compress)])
@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_files_compressed_as_a_whole(tmp_path, suffix, compress, protocol):
    packed = compress(written(tmp_path, COYO).read_bytes())
    url = f"{protocol}://{tmp_path}/packed.parquet.{suffix}"
    with fsspec.open(url, "wb", compression=None) as file:
        file.write(packed)
    assert read(url).select(FACTS).rows() == LAYOUTS["coyo"][1]


ERRORS = {
    "no text column": (COYO, {"format": "laion"}, "there is no column TEXT; columns are id, url, .* Set columns.text"),
    "a named column that is not there": (COYO, {"columns": {"nsfw_score": "punsafe"}}, "there is no column punsafe"),
    "plain parquet means its own columns": (COYO, {"format": "parquet"}, "there is no column caption"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(tmp_path, case):
    table, settings, message = ERRORS[case]
    with pytest.raises(CaptionSourceError, match=rf"{tmp_path}/table\.parquet: {message}"):
        read(written(tmp_path, table), **settings)


@pytest.mark.parametrize("layout", ["auto", "parquet", "coyo"])
@pytest.mark.parametrize("content", [b"PAR1 and more text", b"PAR1", json.dumps([1]).encode()])
def test_what_is_no_parquet(tmp_path, layout, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(CaptionSourceError, match=r"a\.parquet: a parquet file is expected"):
        read(tmp_path / "a.parquet", format=layout)


def test_a_cut_parquet(tmp_path):
    path = written(tmp_path, COYO)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CaptionSourceError, match=r"table\.parquet"):
        read(path)


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufdd0") | st.sampled_from(" \x1c\x85\u3000"), max_size=4
)
VALUES = st.lists(st.tuples(TEXTS | st.none(), TEXTS | st.none(), st.floats() | st.none()), min_size=1, max_size=20)


@given(VALUES)
def test_columns_give_the_same_rows_as_single_values(values):
    texts, images, numbers = zip(*values, strict=True)
    batch = pa.record_batch({"t": pa.array(texts, pa.string()), "i": pa.array(images, pa.string())} | {"n": numbers})
    columns = SourceColumns(text="t", image="i", clip_similarity="n", nsfw_score="n")
    (frame,) = read_batches([batch], Selection(columns, None))
    rows = [Row(at, *value, None, value[-1]) for at, value in enumerate(values)]
    assert frame.schema == ROW_SCHEMA
    assert frame.equals(next(to_frames(rows, "t")))


@given(st.lists(st.none() | st.lists(st.none() | TEXTS, max_size=4), min_size=1, max_size=8), st.data())
def test_lists_give_the_same_rows_as_single_values(lists, data):
    similarities = [data.draw(st.none() | st.lists(st.none() | st.floats(), max_size=4)) for _ in lists]
    batch = pa.record_batch(
        {"t": pa.array(lists, pa.list_(pa.string())), "n": pa.array(similarities, pa.list_(pa.float64()))}
    )
    (frame,) = read_batches([batch], Selection(SourceColumns(text="t", clip_similarity="n"), None))
    rows = []
    for at, (texts, values) in enumerate(zip(lists, similarities, strict=True)):
        if not texts:
            rows.append(Row(at, problem="t is null" if texts is None else "t is an empty list"))
            continue
        dealt = values if values is not None and len(values) == len(texts) else [None] * len(texts)
        rows.extend(Row(at, text, None, value) for text, value in zip(texts, dealt, strict=True))
    assert frame.equals(next(to_frames(rows, "t")))
