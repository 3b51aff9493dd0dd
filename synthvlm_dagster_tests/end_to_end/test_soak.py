"""The soak in little: a few kills on a small project; the figures it promises to be 0 are."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from synthvlm_dagster_tests.end_to_end.project import Project

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not SOAK.is_file(), reason="the benchmarks are in the repository alone"),
]


def test_a_few_kills_cost_nothing(tmp_path, monkeypatch):
    options = [
        "--captions",
        "6",
        "--shards",
        "2",
        "--kills",
        "2",
        "--pause",
        "3",
        "--seed",
        "2",
        "--folder",
        str(tmp_path),
    ]
    outcome = subprocess.run(
        [sys.executable, str(SOAK), *options], text=True, capture_output=True, timeout=550, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    table = dict(line.rsplit(maxsplit=1) for line in outcome.stdout.splitlines() if line and not line[0].isdigit())
    assert table["kills"] == "2"
    assert table["images made"] == "24"

    # And it would have seen a file that was torn.
    monkeypatch.syspath_prepend(str(SOAK.parent))
    project = Project(tmp_path / "disturbed")
    file = Path(project.storage.url(project.storage.files("images", ".parquet")[0]))
    file.write_bytes(file.read_bytes()[:-100])
    [torn] = importlib.import_module("soak").torn_files(project)
    assert file.name in torn
