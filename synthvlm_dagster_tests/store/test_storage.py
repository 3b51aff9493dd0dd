import time
import uuid
from contextlib import closing

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster.store.temporary_table import TemporaryTable

ROWS = pl.DataFrame({"caption_id": ["b", "a"], "score": [0.5, None], "image": [{"bytes": b"\x00", "path": "x"}] * 2})


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    return Storage(str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_a_table_comes_back_as_written(storage):
    storage.write_table("captions/raw", ROWS.lazy())
    assert_frame_equal(storage.scan("captions/raw").collect(), ROWS)
    assert_frame_equal(storage.scan("captions/raw").select("score").collect(), ROWS.select("score"))
    storage.write_table("captions/raw", ROWS.head(1))
    assert storage.scan("captions/raw").collect().height == 1
    assert storage.files("captions") == ["captions/raw/table.parquet"]


def test_chunks_are_read_as_one_table(storage):
    assert not storage.has_table("images")
    storage.write_chunk("images/a/0001", "chunk-1.parquet", ROWS)
    storage.write_chunk("images/a/0000", "chunk-2.parquet", ROWS)
    assert storage.files("images") == ["images/a/0000/chunk-2.parquet", "images/a/0001/chunk-1.parquet"]
    assert storage.scan("images").collect().height == 4
    assert storage.scan_files(storage.files("images")[:1]).collect().height == 2


def test_every_file_is_listed_with_its_size_and_time_also_what_belongs_to_no_table(storage):
    assert storage.every_file() == []
    began = time.time()
    names = ["images/a/.tmp-1", "images/a/0000/chunk-1.parquet", "images/a/0000/chunk-2.parquet.corrupt"]
    for number, name in enumerate(names):
        storage.write_bytes(name, b"x" * number)
    listed = storage.every_file()
    assert [(file.path, file.size) for file in listed] == [(name, number) for number, name in enumerate(names)]
    assert all(began - 5 < file.modified < time.time() + 5 for file in listed)


def test_folders_go_when_they_hold_no_file(storage, tmp_path):
    storage.write_bytes("images/a/0000/x", b"")
    storage.write_bytes("images/a/0001/y", b"")
    storage.delete("images/a/0000/x")
    storage.delete_empty_folders("images/a")
    assert storage.exists("images/a/0001/y")
    storage.delete("images/a/0001/y")
    storage.delete_empty_folders("images/a")
    assert storage.every_file() == []
    assert not (tmp_path / "store" / "images" / "a").exists()


def test_a_file_that_cannot_be_deleted_is_named(tmp_path):
    storage = Storage(str(tmp_path))
    (tmp_path / "images" / "a").mkdir(parents=True)
    with pytest.raises(StorageError, match="images/a: cannot be deleted"):
        storage.delete("images/a")


def test_a_table_written_in_parts_comes_back_in_order(storage):
    parts = [ROWS, ROWS.clear(), ROWS.with_columns(score=pl.lit(2.5))]
    with storage.table_writer("captions/raw", ROWS.schema) as write:
        for part in parts:
            write(part.select("image", "score", "caption_id"))
    assert_frame_equal(storage.scan("captions/raw").collect(), pl.concat(parts))
    assert_frame_equal(pl.concat(storage.batches("captions/raw")), pl.concat(parts))
    assert_frame_equal(pl.concat(storage.batches("captions/raw", ["score"])), pl.concat(parts).select("score"))
    assert storage.files("captions") == ["captions/raw/table.parquet"]


def test_a_table_without_rows_has_its_columns(storage):
    with storage.table_writer("captions/raw", ROWS.schema):
        pass
    assert storage.scan("captions/raw").collect().schema == ROWS.schema


def test_a_writer_that_fails_leaves_the_old_table(storage):
    storage.write_table("captions/raw", ROWS)
    with pytest.raises(RuntimeError), storage.table_writer("captions/raw", ROWS.schema) as write:
        write(ROWS.head(1))
        raise RuntimeError
    assert_frame_equal(storage.scan("captions/raw").collect(), ROWS)
    assert storage.files("") == ["captions/raw/table.parquet"]


def test_large_tables_come_in_batches(storage):
    rows = pl.DataFrame({"row": range(200_000)})
    with storage.table_writer("captions/raw", rows.schema) as write:
        write(rows)
    batches = list(storage.batches("captions/raw"))
    assert len(batches) > 1
    assert_frame_equal(pl.concat(batches), rows)


def test_a_temporary_table_comes_back_in_order_and_has_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parts = [ROWS, ROWS.with_columns(score=pl.lit(2.5))] * 3
    with closing(TemporaryTable()) as table:
        with table.writer(ROWS.schema) as write:
            for part in parts:
                write(part.select("image", "score", "caption_id"))
        for _ in range(2):
            assert_frame_equal(pl.concat(table.batches()), pl.concat(parts))
        assert_frame_equal(pl.concat(table.batches(["score"])), pl.concat(parts).select("score"))
        assert not list(tmp_path.iterdir())


def test_without_a_place_for_temporary_files_there_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match=r"gone: temporary files cannot be written.*TMPDIR"):
        TemporaryTable()


def test_versions_follow_content(storage):
    assert storage.version("t") == ""
    storage.write_table("t", ROWS)
    first = storage.version("t")
    storage.write_table("t", ROWS)
    assert storage.version("t") == first
    storage.write_table("t", ROWS.reverse())
    assert storage.version("t") != first


def test_below_a_file_there_is_none(storage):
    storage.write_bytes("card.md", b"x")
    assert storage.exists("card.md")
    assert not storage.exists("card.md/table.parquet")
    assert storage.size("card.md/table.parquet") == 0
    assert storage.files("card.md/table.parquet") == []


def test_missing_tables_and_files_say_what_to_do(storage):
    with pytest.raises(StorageError, match="materialize the asset"):
        next(storage.batches("captions/none"))
    with pytest.raises(StorageError, match="materialize the asset that writes it first"):
        storage.scan("nothing")
    with pytest.raises(StorageError, match="cannot be read"):
        storage.read_bytes("nothing")
    storage.delete("nothing")
    assert storage.files("nothing") == []


def test_a_write_that_fails_leaves_nothing_new(storage):
    storage.write_table("t", ROWS)
    broken = ROWS.lazy().with_columns(pl.col("caption_id").str.to_integer(strict=True))
    with pytest.raises(pl.exceptions.PolarsError):
        storage.write_table("t", broken)
    assert_frame_equal(storage.scan("t").collect(), ROWS)
    assert storage.files("") == ["t/table.parquet"]


def test_a_folder_is_swapped_in_whole(storage):
    def export(*names):
        with storage.replaced_folder("dataset/llava") as folder:
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(name)

    export("a.json", "images/1.jpg")
    assert storage.files("dataset") == ["dataset/llava/a.json", "dataset/llava/images/1.jpg"]
    export("a.json", "images/2.jpg")
    assert storage.files("dataset") == ["dataset/llava/a.json", "dataset/llava/images/2.jpg"]
    assert storage.read_bytes("dataset/llava/images/2.jpg") == b"images/2.jpg"

    with storage.replaced_folder("empty"):
        pass
    assert storage.files("empty") == []

    with pytest.raises(RuntimeError, match="killed"), storage.replaced_folder("dataset/llava") as folder:
        (folder / "half.json").write_text("half")
        raise RuntimeError("killed")
    assert storage.files("dataset") == ["dataset/llava/a.json", "dataset/llava/images/2.jpg"]


def test_an_object_store_gets_what_refers_to_others_last(monkeypatch):
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    order = []
    copy = storage._fs.cp_file

    def noted(source, target, **_):
        order.append(target)
        copy(source, target)

    monkeypatch.setattr(storage._fs, "cp_file", noted)
    with storage.replaced_folder("export", last=["b.json", "a.md", "not there"]) as folder:
        for name in ("a.md", "b.json", "c.tar", "d.tar"):
            (folder / name).write_text(name)
    assert [path.rpartition("/")[2] for path in order] == ["c.tar", "d.tar", "b.json", "a.md"]
    assert storage.files("export") == [f"export/{name}" for name in ("a.md", "b.json", "c.tar", "d.tar")]


def test_temporary_files_are_never_seen(tmp_path):
    storage = Storage(str(tmp_path))
    storage.write_bytes("folder/file", b"whole")
    (tmp_path / "folder" / ".tmp-123").write_bytes(b"half")
    assert storage.files("") == ["folder/file"]
    assert storage.exists("folder/file")


def test_a_disk_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "store").write_text("a file where the store should be")
    with pytest.raises(StorageError, match="cannot be written"):
        Storage(str(tmp_path / "store")).write_bytes("t", b"x")


def test_an_unknown_protocol_is_a_clear_error():
    with pytest.raises(StorageError, match="cannot be used as storage"):
        Storage("nonsense://bucket")
