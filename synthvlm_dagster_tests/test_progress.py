"""Progress: what the log is told while work goes on, and what a terminal shows."""

import itertools
import re
import sys
import textwrap
import threading
from queue import Queue

import pytest

from synthvlm_dagster.progress import Progress, heartbeat, shown_by_bar
from synthvlm_dagster_tests.pseudo_terminal import run_in_terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that progress sees; a list of one number."""
    now = [0.0]
    monkeypatch.setattr("synthvlm_dagster.progress.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come at once."""
    monkeypatch.setattr("synthvlm_dagster.progress.SECONDS_BETWEEN_REPORTS", 0.001)


def test_a_line_tells_done_total_rate_and_time_left(clock: list[float]) -> None:
    with Progress("images", lambda _: None, total=10_000) as progress:
        clock[0] = 10
        progress.report(done=20)
        assert progress.line() == "20 of 10,000 images, 2 per second, 1:23:10 left"
        clock[0] = 30
        progress.report(done=6000)
        assert progress.line() == "6,000 of 10,000 images, 200 per second, 0:00:20 left"


def test_without_a_total_or_anything_done_no_time_left_is_told(clock: list[float]) -> None:
    with Progress("captions", lambda _: None) as unbounded, Progress("captions", lambda _: None, total=5) as idle:
        clock[0] = 10
        unbounded.report(5000)
        assert unbounded.line() == "5,000 captions, 500 per second"
        assert idle.line() == "0 of 5 captions, 0 per second"


@pytest.mark.usefixtures("impatient")
def test_lines_come_while_nothing_gets_done_and_end_with_the_work() -> None:
    lines: Queue[str] = Queue()
    with Progress("images", lines.put, total=4) as progress:
        for done in (0, 3):
            progress.report(done)
            while not lines.get(timeout=60).startswith(f"{done} of 4 images, "):
                pass
    threads = [thread.name for thread in threading.enumerate()]
    assert "heartbeat" not in threads


@pytest.mark.usefixtures("impatient")
def test_the_heartbeat_ends_with_an_error() -> None:
    beats: Queue[None] = Queue()
    with pytest.raises(RuntimeError, match="of the work"), heartbeat(lambda: beats.put(None)):
        beats.get(timeout=60)
        raise RuntimeError("of the work")
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.usefixtures("impatient")
def test_an_error_of_one_beat_costs_that_beat_alone(caplog: pytest.LogCaptureFixture) -> None:
    beats: Queue[int] = Queue()
    numbers = itertools.count()

    def beat() -> None:
        beats.put(number := next(numbers))
        if number < 2:
            raise OSError("database is locked")

    with heartbeat(beat):
        while beats.get(timeout=60) < 3:
            pass
    assert [record.getMessage() for record in caplog.records] == [
        "progress could not be told: OSError: database is locked"
    ] * 2


@pytest.mark.usefixtures("impatient")
def test_without_a_terminal_every_line_is_for_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    by_bar: Queue[bool] = Queue()
    with Progress("images", lambda _: by_bar.put(shown_by_bar()), total=4):
        assert by_bar.get(timeout=60) is False
    assert capfd.readouterr().err == ""


SHOWS_A_BAR = textwrap.dedent("""
    import os, queue
    import synthvlm_dagster.progress as progress
    progress.SECONDS_BETWEEN_REPORTS = 0.001
    by_bar = queue.Queue()
    with progress.keep_terminal():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with progress.Progress("images of shard 7", lambda _: by_bar.put(progress.shown_by_bar()), total=4) as shown:
            shown.report(3)
            assert by_bar.get(timeout=60) is True
""")


@pytest.mark.parametrize(("total", "shown"), [(4, "1/4 [00:0"), (None, "images of shard 7: 1 images [00:0")])
def test_a_slow_bar_counts_per_second_too(total: int | None, shown: str) -> None:
    script = textwrap.dedent(f"""
        import time
        from synthvlm_dagster.progress import Progress
        with Progress("images of shard 7", print, total={total}) as shown:
            time.sleep(1.5)
            shown.report(1)
            shown._bar.refresh()
    """)
    status, output = run_in_terminal([sys.executable, "-c", script])
    assert status == 0, output
    assert shown in output
    assert re.search(r"0\.\d\d images/s\]", output)
    assert "s/ images" not in output


def test_a_terminal_shows_a_bar_even_when_standard_error_goes_elsewhere_later() -> None:
    status, shown = run_in_terminal([sys.executable, "-c", SHOWS_A_BAR])
    assert status == 0, shown
    assert "images of shard 7:   0%|" in shown
