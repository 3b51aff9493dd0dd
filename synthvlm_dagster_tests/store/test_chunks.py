from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.store.chunks import quarantine_damaged, read_chunks, rows_by_shard, write_chunk
from synthvlm_dagster.store.storage import Storage

ROWS = pl.DataFrame({"image_id": ["a", "b", "c"], "content": [b"first", b"second", b"third" * 20]})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def ids(storage: Storage) -> dict[str, list[str] | None]:
    chunks = read_chunks(storage, storage.files("table"), ["image_id"])
    return {path: None if rows is None else rows["image_id"].to_list() for path, rows in chunks}


def test_the_same_rows_make_the_same_file_and_other_content_another(storage: Storage) -> None:
    path = write_chunk(storage, "table", ROWS)
    assert write_chunk(storage, "table", ROWS) == path
    other = write_chunk(storage, "table", ROWS.with_columns(content=pl.lit(b"other")))
    assert other != path
    assert other.split("-")[1] == path.split("-")[1]
    assert storage.scan_files([path]).collect().equals(ROWS)
    assert ids(storage) == {path: ["a", "b", "c"], other: ["a", "b", "c"]}
    assert quarantine_damaged(storage, "table", print) == ()


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_changed_byte_and_any_lost_tail_is_found(data: st.DataObject) -> None:
    storage = Storage("memory://test_images_chunks")
    path = write_chunk(storage, "table", ROWS)
    content = bytearray(storage.read_bytes(path))
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    storage.write_bytes(path, bytes(content))
    messages: list[str] = []
    assert quarantine_damaged(storage, "table", messages.append) == (f"{path}.corrupt",)
    assert storage.files("table", ".parquet") == []
    assert ".corrupt" in messages[0]


def test_files_without_a_digest_in_their_name_are_damaged_when_they_do_not_open(storage: Storage) -> None:
    storage.write_chunk("table", "chunk-0123456789.parquet", ROWS)
    assert quarantine_damaged(storage, "table", print) == ()
    storage.write_bytes("table/chunk-0123456789.parquet", b"PAR1 and nothing else")
    assert ids(storage) == {"table/chunk-0123456789.parquet": None}
    assert quarantine_damaged(storage, "table", print) == ("table/chunk-0123456789.parquet.corrupt",)


def test_rows_of_all_shards_tell_their_shard_and_file(storage: Storage) -> None:
    paths = [write_chunk(storage, f"table/{shard}", ROWS) for shard in ("0001", "0000")]
    storage.write_bytes("table/0001/chunk-cut.parquet", b"PAR1")
    rows = rows_by_shard(storage, "table", {"image_id": pl.String()})
    assert rows.rows() == [(name, path.split("/")[1], path) for path in reversed(paths) for name in ("a", "b", "c")]
    assert rows_by_shard(storage, "table/0001", {"image_id": pl.String()})["file"].unique().to_list() == paths[:1]
    assert rows_by_shard(storage, "nowhere", {"image_id": pl.String()}).columns == ["image_id", "shard", "file"]
