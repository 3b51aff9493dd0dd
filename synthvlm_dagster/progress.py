"""Say how far long work has come: a line in the log every ten seconds and, where there is a terminal, a bar."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_REPORTS = 10.0
_SECONDS_BETWEEN_CLOCKS = 1.0
# Images per second whatever the rate, as in the log; tqdm itself turns to seconds per image where it is below one.
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
_BAR_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit} [{elapsed}, {rate_noinv_fmt}]"

_log = logging.getLogger(__name__)

_kept_terminal: TextIO | None = None
_shown_by_bar: ContextVar[bool] = ContextVar("shown_by_bar", default=False)


@contextmanager
def heartbeat(beat: Callable[[], None], seconds: float | None = None) -> Iterator[None]:
    """Call a function again and again, from a thread of its own, while the work in the `with` block goes on.

    An error of the function, such as a log that cannot be written for a moment, costs that one call: Python's log has
    a warning, and the next call comes after the next interval.

    Args:
        beat: called after every interval.
        seconds: the interval; None: `SECONDS_BETWEEN_REPORTS`.
    """
    interval = SECONDS_BETWEEN_REPORTS if seconds is None else seconds
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(interval):
            try:
                beat()
            # Whatever it is, the work goes on, and so must what tells of it.
            except Exception as error:
                _log.warning("progress could not be told: %s: %s", type(error).__name__, error)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Progress:
    """Reports done, total, rate and the time left of the work in its `with` block.

    A line goes to the log every ten seconds, also while nothing gets done; a bar is drawn where standard error is a
    terminal (or was one, see `keep_terminal`).
    """

    def __init__(self, what: str, on_progress: Callable[[str], None], total: int | None = None) -> None:
        """
        Args:
            what: what is counted, its unit first, e.g. `captions measured`.
            on_progress: called with one line, from a thread of its own.
            total: how many there are, when it is known.
        """
        self._what = what
        self._on_progress = on_progress
        self._total = total
        self._done = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Begin."""
        self._started = time.monotonic()
        self._bar = tqdm(
            desc=self._what,
            total=self._total,
            unit=f" {self._what.split()[0]}",
            file=terminal(),
            disable=None,
            leave=False,
            dynamic_ncols=True,
            bar_format=_BAR_WITHOUT_TOTAL if self._total is None else _BAR,
        )
        self._stack.callback(self._bar.close)
        self._stack.enter_context(heartbeat(self._say))
        if not self._bar.disable:
            self._stack.enter_context(heartbeat(self._bar.refresh, _SECONDS_BETWEEN_CLOCKS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, however the work ended."""
        self._stack.close()

    def report(self, done: int) -> None:
        """Note that so many are done."""
        self._bar.update(done - self._done)
        self._done = done

    def line(self) -> str:
        """How far it is, e.g. `20 of 10,000 images, 2 per second, 1:23:10 left`."""
        done, total = self._done, self._total
        rate = done / (time.monotonic() - self._started)
        shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        of = "" if total is None else f" of {total:,}"
        return f"{done:,}{of} {self._what}, {shown} per second{_time_left(done, total, rate)}"

    def _say(self) -> None:
        shown = _shown_by_bar.set(not self._bar.disable)
        try:
            self._on_progress(self.line())
        finally:
            _shown_by_bar.reset(shown)


def shown_by_bar() -> bool:
    """Whether the line that is being logged in this thread says what a bar on the terminal shows."""
    return _shown_by_bar.get()


def terminal() -> TextIO:
    """Where bars are drawn: the kept terminal, else standard error, which need not be one."""
    return _kept_terminal or sys.stderr


@contextmanager
def keep_terminal() -> Iterator[None]:
    """Keep drawing where standard error goes now, if that is a terminal, while Dagster sends it into files."""
    global _kept_terminal
    if not sys.stderr.isatty():
        yield
        return
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as _kept_terminal:
        try:
            yield
        finally:
            _kept_terminal = None


def _time_left(done: int, total: int | None, rate: float) -> str:
    if total is None or not rate:
        return ""
    minutes, seconds = divmod(round((total - done) / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {hours}:{minutes:02d}:{seconds:02d} left"
