"""Parts that are found because their file is there."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from synthvlm_dagster.parts import find_parts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package without modules, called `kinds`."""
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    find_parts.cache_clear()
    yield tmp_path / "kinds"
    for name in [name for name in sys.modules if name.partition(".")[0] == "kinds"]:
        del sys.modules[name]
    find_parts.cache_clear()


def write(file: Path, **facts: Any) -> None:
    file.write_text(f"from types import SimpleNamespace\nPART = SimpleNamespace(**{facts!r})\n")


def test_parts_are_what_stands_in_the_folder(folder: Path) -> None:
    write(folder / "a.py", name="last", place=9)
    write(folder / "b.py", name="first", place=1)
    (folder / "base.py").touch()
    (folder / "_shared.py").touch()
    first, last = SimpleNamespace(name="first", place=1), SimpleNamespace(name="last", place=9)
    assert list(find_parts("kinds", "PART").items()) == [("first", first), ("last", last)]


def test_without_places_they_stand_in_the_order_of_their_files(folder: Path) -> None:
    write(folder / "b.py", name="x")
    write(folder / "a.py", name="y")
    assert list(find_parts("kinds", "PART")) == ["y", "x"]


def test_two_parts_of_one_name_are_refused(folder: Path) -> None:
    write(folder / "a.py", name="same", place=1)
    write(folder / "b.py", name="same", place=2)
    with pytest.raises(ValueError, match="kinds: two parts have the name same"):
        find_parts("kinds", "PART")


def test_a_file_without_a_part_is_refused(folder: Path) -> None:
    (folder / "a.py").touch()
    with pytest.raises(AttributeError, match="PART"):
        find_parts("kinds", "PART")
