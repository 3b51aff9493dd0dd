import uuid

import polars as pl
import pytest

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.made_from import FOLDERS_RECORD, MadeFrom, in_words
from synthvlm_dagster.store.paths import FORMAT_FILE
from synthvlm_dagster.store.rows_version import RowsVersion
from synthvlm_dagster.store.storage import Storage

RECORD = MadeFrom(
    code=2,
    settings={"selection": {"count": 20, "strategy": "paper", "audit": None}, "sources": [{"name": "a", "limit": 1}]},
    inputs={"planned_attempts": "1"},
    contents={"curation.flagged_words": "words.txt#0123"},
    generator="sdxl-1",
    scorer="vit-1",
)
ROWS = pl.DataFrame(
    {"text": ["a", None, "cc", ""], "score": [1.0, None, 0.0, 2.0], "parts": [["x"], None, [], ["y", None]]}
)


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    return Storage(str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def version(*frames):
    rows = RowsVersion(frames[0].schema)
    for frame in frames:
        rows.add(frame)
    return rows.version()


def test_a_table_carries_its_record_and_the_version_of_its_rows(storage):
    storage.write_table("t", ROWS, made_from=RECORD)
    found = storage.made_from("t")
    assert found == RECORD.written(version(ROWS))
    assert storage.version("t") == found.version == version(ROWS)
    storage.write_table("t", ROWS.lazy())
    assert storage.made_from("t") is None
    assert storage.version("t") == found.version


def test_the_record_of_a_table_may_be_known_only_when_it_is_written(storage):
    rows = 0
    with storage.table_writer("t", ROWS.schema, made_from=lambda: MadeFrom(code=rows)) as write:
        for part in ROWS.iter_slices(2):
            write(part)
            rows += part.height
    assert storage.made_from("t") == MadeFrom(code=4, version=version(ROWS))


def test_the_version_asks_for_the_rows_alone():
    assert version(ROWS) == version(ROWS[:1], ROWS[1:1], ROWS[1:]) == version(ROWS.rechunk())
    others = [
        ROWS[::-1],
        ROWS[:3],
        ROWS.rename({"text": "texts"}),
        ROWS.select("score", "text", "parts"),
        ROWS.with_columns(pl.col("text").fill_null("")),
        ROWS.with_columns(pl.col("score").fill_null(0)),
        ROWS.with_columns(pl.col("parts").fill_null([])),
        ROWS.with_columns(text=pl.Series(["ac", None, "c", ""])),
        ROWS.with_columns(pl.col("score").cast(pl.Float32)),
    ]
    assert len({version(frame) for frame in [ROWS, *others]}) == 1 + len(others)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([True, None, False]),
        pl.Series([b"1", None, b""]),
        pl.Series([{"x": "a", "y": None}, None, {"x": None, "y": 1}]),
        pl.Series(["a", None, "b"], dtype=pl.Categorical),
        pl.Series([[1.0, 2.0], None, [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2)),
        pl.Series([None, None, None]),
    ],
)
def test_every_type_of_column_has_a_version(values):
    frame = pl.DataFrame({"a": values})
    assert version(frame) == version(frame[:1], frame[1:])
    if values.dtype != pl.Null:
        assert version(frame) != version(frame[::-1])


def test_a_folder_carries_its_record_and_shows_what_was_done_to_it(storage):
    with storage.recorded_folder("dataset/llava", RECORD), storage.replaced_folder("dataset/llava") as folder:
        (folder / "index.json").write_text("[]")
        (folder / "images").mkdir()
        (folder / "images" / "1.png").write_bytes(b"12345")
    record = storage.made_from("dataset/llava")
    assert record == RECORD.written(storage.folder_version("dataset/llava"), record.seen)
    assert storage.folder_is_as_written("dataset/llava", record)
    storage.write_bytes("dataset/llava/images/1.png", b"12346")
    assert not storage.folder_is_as_written("dataset/llava", record)
    storage.write_bytes("dataset/llava/images/1.png", b"12345")
    assert storage.folder_is_as_written("dataset/llava", record), "read, where the times are others"
    storage.write_bytes("dataset/llava/images/1.png", b"1234")
    cut = storage.folder_version("dataset/llava")
    storage.delete("dataset/llava/images/1.png")
    gone = storage.folder_version("dataset/llava")
    assert len({record.version, cut, gone}) == 3
    assert storage.made_from("dataset/llava") == record
    storage.write_bytes(f"dataset/llava/{FOLDERS_RECORD}", b"{")
    assert storage.made_from("dataset/llava") is None
    assert storage.made_from("dataset/nothing") is None


def test_differences_name_the_setting_the_file_and_the_table():
    now = MadeFrom(
        code=3,
        settings={"selection": {"count": 10, "strategy": "paper", "audit": {}}, "sources": [{"name": "b", "limit": 1}]},
        inputs={"planned_attempts": "2", "image_scores": "1"},
        contents={"curation.flagged_words": "words.txt#4567", "scoring.clip.model": "clip#1"},
        generator="sdxl-2",
        scorer="vit-1",
        one_run={"selection": {"count": 10}},
    )
    assert RECORD.differences(RECORD.written("anything")) == []
    assert RECORD.differences(now) == [
        "selection.count is 10, was 20",
        "selection.audit is new",
        "sources.b is new",
        "sources.a is gone",
        "curation.flagged_words (words.txt) has changed",
        "scoring.clip.model is new",
        "the generator is sdxl-2, was sdxl-1",
        "image_scores has changed",
        "planned_attempts has changed",
        "the code that makes it has changed",
    ]
    assert in_words(RECORD.differences(now)).endswith("sources.a is gone; and 6 more")


def test_another_order_of_sources_is_another_setting():
    names = ["a", "b"]
    one, other = (
        MadeFrom(code=1, settings={"sources": [{"name": name, "limit": 1} for name in order]})
        for order in (names, names[::-1])
    )
    assert one.differences(other) == ["the order of sources has changed"]


def test_a_store_says_its_format_and_another_one_is_refused(storage):
    storage.write_bytes("a", b"")
    assert storage.files("") == ["a"]
    again = Storage(storage.url())
    again.write_bytes(FORMAT_FILE, b'{"format": 99}')
    for look in (lambda s: s.files(""), lambda s: s.exists("a"), lambda s: s.read_bytes("a"), lambda s: s.scan("a")):
        with pytest.raises(StorageError, match=r"format 99.*format 1 alone.*newer synthvlm_dagster"):
            look(Storage(storage.url()))
    with pytest.raises(StorageError, match="nothing in this one has been changed"):
        Storage(storage.url()).write_bytes("b", b"")
    assert again.files("") == ["a"]


def test_differences_are_said_once_and_on_one_line():
    then = MadeFrom(
        code=1,
        settings={"description": "", "text_template": "<image>\n", "sources": [{"name": "a", "limit": 1}]},
        contents={},
    )
    now = MadeFrom(
        code=1,
        settings={
            "description": "hello",
            "text_template": " x",
            "sources": [{"name": "a", "limit": 1}, {"name": "z", "limit": 1}],
        },
        contents={"sources.z": "z.txt#1"},
    )
    assert then.differences(now) == [
        'description is hello, was ""',
        'text_template is " x", was "<image>\\n"',
        "sources.z is new",
    ]
