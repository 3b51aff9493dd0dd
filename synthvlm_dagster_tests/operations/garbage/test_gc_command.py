"""`synthvlm gc` as it is typed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from synthvlm_dagster.cli import main
from synthvlm_dagster.operations.garbage.listing import seconds_of_age
from synthvlm_dagster.recipe.active import RECIPE_VARIABLE
from synthvlm_dagster.store.storage import Storage

RECIPE = {
    "name": "named",
    "storage": "store",
    "sources": [{"name": "mine", "path": "captions.txt"}],
    "generation": {"model": "org/model"},
    "selection": {"count": 1},
}
OLD = "images/old-0123456789/0000/chunk-1.parquet"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(RECIPE_VARIABLE, "demo")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    Storage(str(tmp_path / "store")).write_bytes(OLD, b"x" * 1000)
    return tmp_path


@pytest.fixture
def gc(folder: Path) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(main, ["gc", "-r", str(folder / "recipe.yaml"), *arguments])


def test_it_lists_and_deletes_only_when_told_to(gc, folder):
    listed = gc("--older-than", "0h")
    assert listed.exit_code == 0, listed.output
    assert "of a generator that no recipe names" in listed.output
    assert "1.0 kB" in listed.output
    assert "1 thing, 1 file, 1.0 kB can be deleted; nothing has been" in listed.output
    assert (folder / "store" / OLD).exists()

    deleted = gc("--older-than", "0h", "--yes")
    assert deleted.exit_code == 0, deleted.output
    assert "deleted  images/old-0123456789" in deleted.output
    assert not (folder / "store" / "images" / "old-0123456789").exists()
    assert "nothing to delete" in gc("--yes").output


def test_what_was_written_lately_is_left_alone(gc, folder):
    fresh = gc("--yes")
    assert fresh.exit_code == 0
    assert "left alone, as it was written within the last 24h (1 thing, 1 file, 1.0 kB)" in fresh.output
    assert (folder / "store" / OLD).exists()
    os.utime(folder / "store" / OLD, (1, 1))
    assert "1 thing, 1 file, 1.0 kB deleted" in gc("--yes").output


def test_mistakes_are_told_without_a_traceback(gc, folder):
    assert "write a number and s, m, h or d" in gc("--older-than", "soon").output
    (folder / "other.yaml").write_text(yaml.safe_dump(RECIPE | {"name": "other", "storage": "elsewhere"}))
    refused = gc("-r", str(folder / "other.yaml"), "--yes")
    assert refused.exit_code == 2
    assert "recipe other stores in" in refused.output
    assert (folder / "store" / OLD).exists()


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("24h", 86400), ("1.5d", 129600), ("0h", 0), ("3s", 3)])
def test_ages(text, seconds):
    assert seconds_of_age(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "24", "-1h", "1w", "24 hours"])
def test_what_is_no_age(text):
    assert seconds_of_age(text) is None
