"""The soak in little: a few kills on a small project; the figures it promises to be 0 are."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"

pytestmark = pytest.mark.skipif(not SOAK.is_file(), reason="the benchmarks are in the repository alone")


def test_a_few_kills_cost_nothing(tmp_path):
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
