"""What shards took: the one thing about their runs that a stage is told."""

from __future__ import annotations

from typing import NamedTuple


class Work(NamedTuple):
    """Images that were made or measured, and the wall-clock time of it."""

    images: int = 0
    seconds: float = 0.0
    """Without the loading of models that is recorded apart."""
    load_seconds: float = 0.0
    on_gpu: bool = False
