"""Say every few seconds how far a long loop has come."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_BETWEEN_REPORTS = 10.0


class Progress:
    """Reports done, total, rate and the time left of a loop, at most once in `SECONDS_BETWEEN_REPORTS`."""

    def __init__(self, what: str, on_progress: Callable[[str], None], total: int | None = None) -> None:
        """
        Args:
            what: what is counted, e.g. `captions measured`.
            on_progress: called with one line.
            total: how many there are, when it is known.
        """
        self._what = what
        self._on_progress = on_progress
        self._total = total
        self._of = "" if total is None else f" of {total:,}"
        self._started = self._reported = time.monotonic()

    def report(self, done: int) -> None:
        """Say that so many are done, unless the last report is too fresh."""
        now = time.monotonic()
        if now - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._reported = now
            rate = done / (now - self._started)
            shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
            self._on_progress(f"{done:,}{self._of} {self._what}, {shown} per second{self._time_left(done, rate)}")

    def _time_left(self, done: int, rate: float) -> str:
        if self._total is None or not rate:
            return ""
        minutes, seconds = divmod(round((self._total - done) / rate), 60)
        hours, minutes = divmod(minutes, 60)
        return f", {hours}:{minutes:02d}:{seconds:02d} left"
