"""What a user meets when a run is interrupted or a disk has changed a file: the next run mends it."""

import os
import signal
import time
from pathlib import Path

import pytest

from synthvlm_dagster_tests.end_to_end.project import make_project

pytestmark = pytest.mark.long


def test_an_interrupted_run_and_a_changed_byte_cost_only_what_is_lost(tmp_path):
    project = make_project(tmp_path / "project", captions=24, attempts=4, shards=2)
    running = project.start("synthvlm_dagster.cli", "run", start_new_session=True)
    deadline = time.monotonic() + 240
    while len(project.storage.files("images")) < 3:
        assert running.poll() is None, "ended before it could be interrupted"
        assert time.monotonic() < deadline, "no image within four minutes"
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(60) != 0
    made = len(project.image_ids())
    assert 12 <= made < 96

    kept = {path: Path(project.storage.url(path)).stat().st_mtime_ns for path in project.storage.files("images")}
    [victim, *_] = kept
    content = bytearray(project.storage.read_bytes(victim))
    content[len(content) // 2] ^= 1
    project.storage.write_bytes(victim, bytes(content))

    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "a damaged file is now" in outcome.stdout + outcome.stderr
    assert project.storage.exists(f"{victim}.corrupt")
    assert len(project.image_ids()) == len(set(project.image_ids())) == 96
    del kept[victim]
    assert {path: Path(project.storage.url(path)).stat().st_mtime_ns for path in kept} == kept
