"""As many processes, as many GPUs: a lease belongs to one living process."""

import os
import signal
import subprocess
import sys

import pytest

from synthvlm_dagster.models.gpu_leases import LOCKS_VARIABLE, lock_folder, take_lease

GPUS = ["GPU-a", "GPU-b", "GPU-c"]
HOLDER = """
import sys
from pathlib import Path
from synthvlm_dagster.models.gpu_leases import take_lease
lease = take_lease(sys.argv[2:], Path(sys.argv[1]), lambda _: None)
print(lease.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Starts processes that lease one of the GPUs each and hold it until they are told to end, or are killed."""
    holders = []

    def start():
        command = [sys.executable, "-c", HOLDER, str(tmp_path), *GPUS]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def name_of(holder):
    return holder.stdout.readline().strip()


def test_each_process_gets_a_gpu_of_its_own(hold):
    holders = [hold() for _ in GPUS]
    assert sorted(name_of(holder) for holder in holders) == GPUS


def test_a_process_waits_until_one_is_free_and_says_so(hold, tmp_path, monkeypatch):
    holders = [hold() for _ in GPUS]
    names = [name_of(holder) for holder in holders]
    monkeypatch.setattr("synthvlm_dagster.models.gpu_leases._SECONDS_BETWEEN_REPORTS", 0.0)
    said = []

    def end_the_second(message):
        said.append(message)
        holders[1].send_signal(signal.SIGKILL)

    lease = take_lease(GPUS, tmp_path, end_the_second)
    assert lease.name == names[1]
    assert said[0].startswith("all 3 GPUs belong to other runs; waiting for")
    lease.release()


def test_what_was_released_can_be_taken_again(tmp_path):
    first = take_lease(GPUS, tmp_path, print)
    assert first.name == "GPU-a"
    assert take_lease(GPUS, tmp_path, print).name == "GPU-b"
    first.release()
    assert take_lease(GPUS, tmp_path, print).name == "GPU-a"


def test_locks_are_of_the_user_or_where_the_environment_says(monkeypatch, tmp_path):
    assert str(os.getuid()) in lock_folder().name
    monkeypatch.setenv(LOCKS_VARIABLE, str(tmp_path / "locks"))
    assert take_lease(GPUS, lock_folder(), print).name == "GPU-a"
    assert [file.name for file in (tmp_path / "locks").iterdir()] == ["GPU-a.lock"]
