import os
import time

import pytest

from synthvlm_dagster import contents
from synthvlm_dagster.contents import content_of
from synthvlm_dagster.errors import ModelError

LARGE = (1 << 20) + 1


@pytest.fixture(autouse=True)
def another_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_known", {})


@pytest.fixture
def reads(monkeypatch):
    """The files that were read to their end."""
    found = []
    read = contents._read
    monkeypatch.setattr(contents, "_read", lambda file: (found.append(file.name), read(file))[1])
    return found


def written(path, content, age=10.0):
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def in_a_while(monkeypatch, seconds=10.0):
    """Let the files that were just written have rested."""
    now = time.time
    monkeypatch.setattr(contents.time, "time", lambda: now() + seconds)


@pytest.mark.parametrize("size", [3, LARGE])
def test_the_same_size_and_a_restored_time_hide_no_change(tmp_path, monkeypatch, size):
    file = written(tmp_path / "weights", b"a" * size)
    before = file.stat()
    first = content_of(file)
    in_a_while(monkeypatch)
    assert content_of(file) == first
    file.write_bytes(b"b" * size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert content_of(file) != first


def test_a_large_file_is_read_once_also_by_another_process(tmp_path, monkeypatch, reads):
    file = written(tmp_path / "weights", b"a" * LARGE)
    in_a_while(monkeypatch)
    first = content_of(file)
    assert content_of(file) == first
    monkeypatch.setattr(contents, "_known", {})
    assert content_of(file) == first
    assert reads == ["weights"]
    [kept] = (tmp_path / "cache" / "synthvlm_dagster" / "contents").iterdir()
    kept.write_text("{")
    monkeypatch.setattr(contents, "_known", {})
    assert content_of(file) == first
    assert reads == ["weights"] * 2


def test_of_a_file_that_was_just_changed_nothing_is_kept(tmp_path, reads):
    file = tmp_path / "weights"
    file.write_bytes(b"a" * LARGE)
    content_of(file)
    content_of(file)
    assert reads == ["weights"] * 2
    assert not (tmp_path / "cache").exists()


def test_without_room_for_the_cache_it_is_read_again(tmp_path, monkeypatch, reads):
    file = written(tmp_path / "weights", b"a" * LARGE)
    (tmp_path / "cache").write_text("a file in its place")
    in_a_while(monkeypatch)
    first = content_of(file)
    monkeypatch.setattr(contents, "_known", {})
    assert content_of(file) == first
    assert reads == ["weights"] * 2


def test_a_folder_is_its_names_and_contents(tmp_path):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    written(folder / "a", b"1")
    written(folder / "unet" / "b", b"2")
    first = content_of(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert content_of(moved) == first
    (moved / "unet" / "b").rename(moved / "b")
    assert content_of(moved) != first
    written(moved / "c", b"")
    (moved / "c").chmod(0)
    if os.getuid():
        with pytest.raises(ModelError, match="cannot be read"):
            content_of(moved)


def test_what_stands_behind_a_link_counts_as_if_it_stood_there(tmp_path, monkeypatch):
    """As people keep the parts of a pipeline: `unet -> ../unets/v1`."""
    for version in ("v1", "v2"):
        (tmp_path / "unets" / version).mkdir(parents=True)
        written(tmp_path / "unets" / version / "weights", version.encode())
    linked, copied = tmp_path / "linked", tmp_path / "copied"
    for model in (linked, copied):
        model.mkdir()
        written(model / "model_index.json", b"{}")
    (linked / "unet").symlink_to(tmp_path / "unets" / "v1")
    (linked / "itself").symlink_to(linked)
    (copied / "unet").mkdir()
    written(copied / "unet" / "weights", b"v1")
    assert content_of(linked) == content_of(copied)

    (linked / "unet").unlink()
    (linked / "unet").symlink_to(tmp_path / "unets" / "v2")
    second = content_of(linked)
    assert second != content_of(copied)
    in_a_while(monkeypatch)
    written(tmp_path / "unets" / "v2" / "weights", b"v3")
    assert content_of(linked) not in (second, content_of(copied))
