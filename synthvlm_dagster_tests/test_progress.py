import pytest

from synthvlm_dagster.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that loops see; a list of one number."""
    now = [0.0]
    monkeypatch.setattr("synthvlm_dagster.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_every_ten_seconds_tells_done_total_rate_and_time_left(clock: list[float]) -> None:
    lines: list[str] = []
    progress = Progress("images", lines.append, total=10_000)
    for second in range(1, 31):
        clock[0] = second
        progress.report(done=second * 2)
    assert lines == [
        "20 of 10,000 images, 2 per second, 1:23:10 left",
        "40 of 10,000 images, 2 per second, 1:23:00 left",
        "60 of 10,000 images, 2 per second, 1:22:50 left",
    ]


def test_without_a_total_or_anything_done_no_time_left_is_told(clock: list[float]) -> None:
    lines: list[str] = []
    unbounded, idle = Progress("captions", lines.append), Progress("captions", lines.append, total=5)
    clock[0] = 10
    unbounded.report(5000)
    idle.report(0)
    assert lines == ["5,000 captions, 500 per second", "0 of 5 captions, 0 per second"]
