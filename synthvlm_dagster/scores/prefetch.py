"""Decode and preprocess images in threads, ahead of the model that measures them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import polars as pl

_BATCHES_AHEAD = 2
"""Batches that are made ready while one is measured; each is held in memory."""

_Prepared = TypeVar("_Prepared")


def prepared_ahead(batches: Iterable[pl.DataFrame], prepare: Callable[..., _Prepared]) -> Iterator[list[_Prepared]]:
    """Call a function for every row, in as many threads as there are processors, two batches ahead of the reader.

    Args:
        batches: frames; read in the caller's thread.
        prepare: takes the values of a row; must be safe to call from several threads at once.

    Yields:
        What it returned for the rows of each batch, in order.

    Raises:
        Exception: what `prepare` raised, for the first row that it failed for; rows behind it are left.
    """
    waiting: deque[list[Future[_Prepared]]] = deque()
    threads = ThreadPoolExecutor(os.cpu_count(), "prepare")
    try:
        for batch in batches:
            waiting.append([threads.submit(prepare, *row) for row in batch.iter_rows()])
            if len(waiting) > _BATCHES_AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        threads.shutdown(cancel_futures=True)
