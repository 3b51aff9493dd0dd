"""Calls that may hang, because a network filesystem waits minutes for an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from synthvlm_dagster.errors import SynthVLMError

Answer = TypeVar("Answer")


class NoAnswerError(SynthVLMError):
    """A call has not come back in time; it is left to itself."""


class Caller:
    """Makes one call at a time, each in a thread of its own, so that a hanging one can be left behind."""

    def __init__(self) -> None:
        self._hanging: threading.Thread | None = None

    def call(self, function: Callable[[], Answer], seconds: float) -> Answer:
        """The function's result, or what it raises.

        Raises:
            NoAnswerError: it takes longer than `seconds`, or an earlier call still hangs: then it is not called.
        """
        if self._hanging is not None and self._hanging.is_alive():
            raise NoAnswerError("an earlier look has still got no answer. Make the recipe's sources reachable")
        future: Future[Answer] = Future()
        # A pool would have the process wait for the thread at its end.
        self._hanging = threading.Thread(target=_answer, args=(future, function), daemon=True)
        self._hanging.start()
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.done():
                raise
            raise NoAnswerError(
                f"no answer within {seconds:g} s. Make the recipe's sources reachable, or allow more time: "
                "operations.new_captions.answer_seconds"
            ) from error


def _answer(future: Future[Answer], function: Callable[[], Answer]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
