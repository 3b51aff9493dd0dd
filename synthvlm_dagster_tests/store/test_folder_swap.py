"""Folders replaced whole, by processes that are killed with -9 at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthvlm_dagster.store import folder_swap
from synthvlm_dagster.store.folder_swap import replaced_folder

FILES = 20
WRITER = f"""
import sys
from pathlib import Path
from synthvlm_dagster.store.folder_swap import replaced_folder

version = 0
while True:
    version += 1
    with replaced_folder(Path(sys.argv[1])) as folder:
        for number in range({FILES}):
            (folder / str(number)).write_text(str(version))
    if version == 1:
        print("ready", flush=True)
"""


def versions(folder: Path) -> set[str]:
    return {(folder / str(number)).read_text() for number in range(FILES)}


def write(target: Path, content: str) -> None:
    with replaced_folder(target) as folder:
        for number in range(FILES):
            (folder / str(number)).write_text(content)


def test_a_kill_at_any_moment_leaves_one_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "store" / "export"
    attempt = interrupted = 0
    # On until one has come while a folder was being written.
    while attempt < 20 or (interrupted == 0 and attempt < 200):
        attempt += 1
        with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(attempt % 20 * 0.0013)
            os.kill(writer.pid, signal.SIGKILL)
        assert len(versions(target)) == 1
        left = [entry for entry in target.parent.iterdir() if entry != target]
        assert len(left) <= 1
        interrupted += len(left)
    assert interrupted > 0
    write(target, "last")
    assert versions(target) == {"last"}
    assert list(target.parent.iterdir()) == [target]


def test_a_reader_never_misses_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "export"
    write(target, "0")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            version = 0
            while version < 10:
                found = int((target / "0").read_text())
                assert found >= version
                version = found
        finally:
            writer.kill()


def test_left_overs_are_removed_and_work_in_progress_is_not(tmp_path: Path) -> None:
    target = tmp_path / "export"
    left = tmp_path / f".tmp-export.{'0' * 32}"
    other = tmp_path / f".tmp-export.more.{'0' * 32}"
    for folder in (left, other):
        folder.mkdir()
        (folder / "half").write_text("half")
    with replaced_folder(target) as first:
        (first / "file").write_text("first")
        assert not left.exists()
        with replaced_folder(target) as second:
            (second / "file").write_text("second")
        assert first.is_dir()
        assert (target / "file").read_text() == "second"
    assert (target / "file").read_text() == "first"
    assert sorted(tmp_path.iterdir()) == sorted([target, other])


def test_an_old_and_a_new_folder_change_places_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if not folder_swap._exchanged(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system has no exchange of folders")
    target = tmp_path / "export"
    write(target, "old")

    def refused(*_: object) -> None:
        pytest.fail("a folder was renamed away")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refused)
        write(target, "new")
    assert versions(target) == {"new"}


def test_without_an_exchange_the_folder_is_renamed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_swap, "_exchanged", lambda *_: False)
    target = tmp_path / "export"
    for content in ("old", "new"):
        write(target, content)
        assert versions(target) == {content}
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "export"
    write(target, "old")
    with pytest.raises(KeyError), replaced_folder(target) as folder:
        (folder / "half").write_text("half")
        raise KeyError
    assert versions(target) == {"old"}
    assert list(tmp_path.iterdir()) == [target]
