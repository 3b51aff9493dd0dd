import os
import subprocess
import sys
from dataclasses import replace

import pytest

from synthvlm_dagster.operations.runs import processes
from synthvlm_dagster.operations.runs.processes import Process, start_of, this_host, this_process


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def identity(pid: int) -> Process:
    return Process(this_host(), pid, start_of(pid) or "")


def test_a_living_process_is_not_gone(sleeper):
    assert not this_process().is_gone()
    assert not identity(sleeper.pid).is_gone()


def test_a_killed_process_is_gone_before_and_after_its_burial(sleeper):
    process = identity(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert process.is_gone()
    sleeper.wait()
    assert process.is_gone()


def test_another_process_with_the_same_pid_is_another_process(sleeper):
    assert replace(identity(sleeper.pid), started=this_process().started).is_gone()


def test_nothing_is_gone_after_a_restart_but_what_was_there_before(sleeper, monkeypatch):
    before = this_process()
    monkeypatch.setattr(processes, "boot", lambda: "the next boot")
    assert before.is_gone()
    assert not this_process().is_gone()


def test_a_process_of_another_machine_is_never_gone():
    assert not Process("elsewhere-123456", 999_999_999, "long ago").is_gone()


def test_without_proc_the_clock_tells(sleeper, monkeypatch):
    monkeypatch.setattr(processes, "boot", lambda: "")
    process = identity(sleeper.pid)
    assert process.started
    assert not process.is_gone()
    sleeper.kill()
    sleeper.wait()
    assert process.is_gone()
