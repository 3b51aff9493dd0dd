"""What every held-out judge can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Judge(Protocol):
    """A measure of images that selection does not optimise; its model is loaded when it is asked to."""

    column: str
    """Where its values stand in the scores."""
    model: str
    """Names its models, for errors."""

    def load(self) -> None:
        """Load the model, if it is not.

        Raises:
            ModelError: the model cannot be loaded, or is not of the kind that the judge needs.
        """
        ...

    def prepare(self, image: np.ndarray) -> Any:
        """What the model takes for an image: uint8, shape (height, width, 3), sRGB.

        Called from several threads, after `load`.
        """
        ...

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> np.ndarray:
        """One value for each prepared image with its caption: float64, shape (len(prepared),)."""
        ...
