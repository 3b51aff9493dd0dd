"""Tables and folders on S3, over HTTP, with the failures of a network."""

import os
import uuid
from pathlib import Path

import fsspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.errors import CaptionSourceError, StorageError
from synthvlm_dagster.recipe import CaptionSource
from synthvlm_dagster.store.chunks import quarantine_damaged, read_chunks, read_columns, write_chunk
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.stores.s3_server import BUCKET, SECRET, Fault

COUNT = 300
ROWS = pl.DataFrame(
    {
        "image_id": [f"{number:016x}" for number in range(COUNT)],
        "score": pl.Series([number / COUNT for number in range(COUNT)]),
        "image": [{"bytes": os.urandom(2000), "path": f"{number}.png"} for number in range(COUNT)],
        "embedding": pl.Series([[float(number)] * 4 for number in range(COUNT)], dtype=pl.Array(pl.Float32, 4)),
    }
)
OTHER = ROWS.reverse()

QUERIES = {
    "all": lambda rows: rows,
    "count": lambda rows: rows.select(pl.len()),
    "column": lambda rows: rows.select("score"),
    "field": lambda rows: rows.select(pl.col("image").struct.field("bytes")),
    "filter": lambda rows: rows.filter(pl.col("score") > 0.5),
    "filter, then head": lambda rows: rows.filter(pl.col("score") > 0.5).head(7),
    "head, then filter": lambda rows: rows.head(7).filter(pl.col("score") > 0.01),
    "slice": lambda rows: rows.slice(250, 100),
    "few": lambda rows: rows.filter(pl.col("image_id").is_in({f"{3:016x}"})).select("image_id"),
    "best": lambda rows: rows.top_k(3, by="score").select("score"),
}


def ids_in(storage: Storage, paths: list[str]) -> dict[str, list[str] | None]:
    """The image ids in chunk files; None where one cannot be read."""
    chunks = read_chunks(storage, paths, ["image_id"])
    return {path: None if rows is None else rows["image_id"].to_list() for path, rows in chunks}


@pytest.fixture
def storage(s3):
    return Storage(f"s3://{BUCKET}/{uuid.uuid4().hex}")


@pytest.mark.parametrize("query", QUERIES)
def test_a_scan_gives_what_polars_gives(storage, query):
    parts = [ROWS.head(100), ROWS.slice(100, 100), ROWS.slice(200)]
    for number, part in enumerate(parts):
        storage.write_chunk("t", f"{number}.parquet", part)
    assert storage.scan("t").collect_schema() == ROWS.schema
    assert_frame_equal(QUERIES[query](storage.scan("t")).collect(), QUERIES[query](ROWS.lazy()).collect())


def test_a_query_fetches_the_columns_that_it_needs(s3, storage):
    large = ROWS.with_columns(image=pl.Series([{"bytes": os.urandom(10_000), "path": "x"} for _ in range(COUNT)]))
    storage.write_table("t", large)
    size = storage.size("t/table.parquet")
    s3.requests.clear()
    assert storage.scan("t").select("image_id", "score").collect().height == COUNT
    assert sum(request.length for request in s3.requests) < size / 10
    assert all(request.status in (200, 206) for request in s3.requests)


def test_other_processes_files_are_seen_at_once(s3, storage):
    mine, other = storage, Storage(storage.url())
    mine.write_table("t", ROWS)
    fsspec.filesystem("s3").ls(storage.url("t"))
    other._fs = fsspec.filesystem("s3", skip_instance_cache=True)
    assert not mine.exists("late.txt")
    other.write_bytes("late.txt", b"1")
    other.write_chunk("t", "more.parquet", ROWS)
    assert mine.exists("late.txt")
    assert len(mine.files("t")) == 2
    lazily = mine.scan("t")
    other.write_table("t", OTHER)
    assert lazily.collect().height == 2 * COUNT
    source = CaptionSource(name="s", path=storage.url("*.txt"))
    assert [file.name for file in find_files(source)] == ["late.txt"]
    other.write_bytes("later.txt", b"2")
    assert [file.name for file in find_files(source)] == ["late.txt", "later.txt"]


def test_what_was_read_is_not_fetched_again_while_it_is_the_same(s3, storage):
    storage.write_table("t", ROWS)
    assert_frame_equal(storage.scan("t").collect(), ROWS)
    s3.requests.clear()
    assert_frame_equal(storage.scan("t").collect(), ROWS)
    assert_frame_equal(pl.concat(storage.batches("t")), ROWS)
    assert storage.version("t")
    # Each asks whether the file is the same: one listing, and a look at the file whenever it is opened.
    assert sum(request.length for request in s3.requests) < 10_000
    assert len(s3.requests) == 3 + 4
    Storage(storage.url()).write_table("t", OTHER)
    assert_frame_equal(storage.scan("t").collect(), OTHER)
    assert_frame_equal(Storage(storage.url()).scan("t").collect(), OTHER)


@pytest.mark.parametrize("image_bytes", [100, 10_000], ids=["small files", "large files"])
def test_of_chunks_that_were_listed_nothing_is_asked_twice(s3, storage, image_bytes):
    parts = [
        ROWS.slice(10 * number, 7).with_columns(
            image=pl.Series([{"bytes": os.urandom(image_bytes * 20), "path": "x"}] * 7)
        )
        for number in range(20)
    ]
    for part in parts:
        write_chunk(storage, "t", part)
    s3.requests.clear()
    paths = storage.files("t")
    read = ids_in(storage, paths)
    # The store's format is asked for once, one listing tells that they are there and how large; of a large one, its end
    # and the column are fetched.
    assert len(s3.requests) <= 2 + len(paths) * (1 if image_bytes == 100 else 2)
    s3.requests.clear()
    assert ids_in(storage, storage.files("t")) == read
    assert len(s3.requests) == 1
    ids = [image_id for part in parts for image_id in part["image_id"]]
    assert sorted(image_id for found in read.values() for image_id in found) == sorted(ids)
    everything = storage.scan("t").collect()
    assert everything["image_id"].to_list() == [image_id for path in paths for image_id in read[path]]


def test_a_chunk_that_was_quarantined_and_made_anew_is_read_anew(storage):
    path = write_chunk(storage, "t", ROWS)
    content = storage.read_bytes(path)
    storage.write_bytes(path, content[:-100])
    assert ids_in(storage, storage.files("t")) == {path: None}
    quarantine_damaged(storage, "t", lambda _: None)
    assert write_chunk(storage, "t", ROWS) == path
    assert storage.scan_files([path]).collect().height == COUNT
    assert ids_in(storage, storage.files("t", ".parquet"))[path] == ROWS["image_id"].to_list()


@pytest.mark.parametrize("kind", ["500", "503", "cut", "slow", "lost"])
def test_what_passes_is_not_noticed(s3, storage, kind):
    def failing(method):
        # Longer than the client waits for an answer.
        s3.faults[:] = [Fault(kind, method, times=2, seconds=1.5)]

    storage.write_table("t", ROWS)
    if kind != "cut":
        failing("PUT")
        storage.write_table("t", OTHER)
        assert s3.faults[0].happened >= 2
        failing("PUT")
        with storage.replaced_folder("export") as folder:
            for name in ("a.txt", "b.txt"):
                (folder / name).write_text(name)
        assert s3.faults[0].happened >= 2
        assert storage.files("export") == ["export/a.txt", "export/b.txt"]
        storage.write_table("t", ROWS)
    if kind != "lost":
        failing("GET")
        assert_frame_equal(storage.scan("t").collect(), ROWS)
        assert s3.faults[0].happened >= 2
        failing("GET")
        assert_frame_equal(pl.concat(storage.batches("t")), ROWS)
        failing("GET")
        version = storage.version("t")
        s3.faults.clear()
        assert storage.version("t") == version
    if kind in ("500", "503", "slow"):
        failing("HEAD")
        assert storage.exists("t/table.parquet")


@pytest.mark.parametrize("kind", ["500", "503", "lost"])
def test_a_write_that_fails_for_good_leaves_what_was_there(s3, storage, kind):
    storage.write_table("t", ROWS)
    s3.faults[:] = [Fault(kind, "PUT")]
    for write in (lambda: storage.write_table("t", OTHER), lambda: storage.write_bytes("t/table.parquet", b"x")):
        with pytest.raises(StorageError, match=rf"^s3://{BUCKET}/\w+/t/table.parquet: cannot be written: .*Run again"):
            write()
    assert s3.faults[0].happened >= 6
    s3.faults.clear()
    assert_frame_equal(storage.scan("t").collect(), ROWS)
    assert len(storage.files("")) == 1


@pytest.mark.parametrize("kind", ["500", "503", "cut"])
def test_a_read_that_fails_for_good_names_the_file(s3, storage, kind):
    path = write_chunk(storage, "t", ROWS)
    storage.write_table("whole", ROWS)
    s3.faults[:] = [Fault(kind, "GET", ".parquet")]
    reads = {
        "scan": lambda: storage.scan_files([path]).collect(),
        "bytes": lambda: storage.read_bytes(path),
        "stream": lambda: storage.open(path).read(),
        "columns": lambda: read_columns(storage, path, ["image_id"]),
        "ids": lambda: ids_in(storage, [path]),
        "digest": lambda: quarantine_damaged(storage, "t", print),
    }
    for name, read in reads.items():
        with pytest.raises(StorageError, match=rf"^s3://{BUCKET}/\w+/t/chunk-.*parquet: cannot be read: .*Run again"):
            pytest.fail(f"{name}: {read()}")
    with pytest.raises(StorageError, match=r"whole/table.parquet: cannot be read: "):
        storage.version("whole")
    s3.faults.clear()
    assert storage.files("t") == [path], "a file that could not be fetched is not a damaged file"


def test_a_store_that_cannot_be_asked_is_not_an_empty_store(s3, storage):
    storage.write_table("t", ROWS)
    s3.faults[:] = [Fault("500", "HEAD"), Fault("500", "GET")]
    for ask in (
        lambda: storage.exists("t/table.parquet"),
        lambda: storage.size("t/table.parquet"),
        lambda: storage.files("t"),
        lambda: storage.has_table("t"),
    ):
        with pytest.raises(StorageError, match=r"/t.*: cannot be (looked up|listed): "):
            ask()
    with pytest.raises(CaptionSourceError, match="cannot be opened"):
        find_files(CaptionSource(name="s", path=storage.url("t/table.parquet")))


def test_a_large_file_is_uploaded_in_parts_and_appears_whole(s3, storage, monkeypatch):
    import s3fs.core

    def in_parts_of_five_megabytes(size, chunksize=None):
        return 5 << 20

    monkeypatch.setattr(s3fs.core, "calculate_chunksize", in_parts_of_five_megabytes)
    old, new = b"o" * 1000, os.urandom(12 << 20)
    storage.write_bytes("large", old)
    for kind in ("500", "lost"):
        s3.faults[:] = [Fault(kind, "PUT", "partNumber=2")]
        with pytest.raises(StorageError, match=r"large: cannot be written"):
            storage.write_bytes("large", new)
        assert s3.faults[0].happened >= 3
        s3.faults.clear()
        assert storage.read_bytes("large") == old
    s3.faults[:] = [Fault("500", "POST", "uploadId")]
    with pytest.raises(StorageError, match=r"large: cannot be written"):
        storage.write_bytes("large", new)
    s3.faults.clear()
    assert storage.read_bytes("large") == old
    assert fsspec.filesystem("s3").list_multipart_uploads(BUCKET) == []
    s3.faults[:] = [Fault("lost", "PUT", "partNumber=2", times=1), Fault("500", "POST", "uploadId", times=1)]
    storage.write_bytes("large", new)
    assert storage.read_bytes("large") == new


def test_a_folder_whose_upload_fails_stands_as_it_was(s3, storage):
    def export(text):
        with storage.replaced_folder("export", last=["index.json"]) as folder:
            for name in ("00000.tar", "00001.tar", "index.json"):
                (folder / name).write_text(text)

    export("old")
    s3.faults[:] = [Fault("500", "PUT", "00001.tar")]
    with pytest.raises(StorageError, match=r"export: cannot be written: .*Run again"):
        export("new")
    s3.faults.clear()
    names = storage.files("")
    assert names == ["export/00000.tar", "export/00001.tar", "export/index.json"]
    assert {storage.read_bytes(name) for name in names} == {b"old"}
    export("new")
    assert {storage.read_bytes(name) for name in names} == {b"new"}
    left = fsspec.filesystem("s3").find(storage.url("export"), withdirs=False)
    assert [Path(path).name for path in left] == ["00000.tar", "00001.tar", "index.json"]


def test_a_browser_is_told_what_a_page_is(s3, storage):
    storage.write_bytes("report/index.html", b"<p>")
    with storage.replaced_folder("export") as folder:
        (folder / "index.html").write_text("<p>")
    for path in ("report/index.html", "export/index.html"):
        assert fsspec.filesystem("s3").info(storage.url(path), refresh=True)["ContentType"] == "text/html"


def test_no_bucket_and_no_credentials_are_clear_errors(s3, monkeypatch):
    with pytest.raises(StorageError, match=r"s3://nowhere/t/table.parquet: cannot be written: .*bucket"):
        Storage("s3://nowhere").write_table("t", ROWS)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StorageError, match=r"credentials.*in the environment") as raised:
        Storage(f"s3://{BUCKET}/none").write_bytes("x", b"x")
    assert SECRET not in str(raised.value)
