"""Statistics that cost too much to be measured twice: each value is kept in the store the moment it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import polars as pl


class Measure(Protocol):
    """A costly statistic of captions, or of captions with their original images."""

    name: str
    """The statistic's column."""

    identity: str
    """Fingerprint of everything that changes the values: model, question, precision."""

    extras: pl.Schema
    """Further numeric columns of the frames that `measure` yields, e.g. the tokens that an answer cost."""

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """Measure captions, a part at a time.

        Args:
            captions: key (String, unique), text (String) and image_uri (String, may be null).
            on_progress: called every few seconds with done, total and rate.

        Yields:
            Frames, in any order, with key, value (Float64, null when it cannot be measured), problem (String, why
            value is null) and `extras`: each as soon as it is known.

        Raises:
            SynthVLMError: nothing can be measured at all, because the model cannot be loaded or reached.
        """
        ...
