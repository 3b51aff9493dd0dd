"""What every held-out judge can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class JudgeModel(Protocol):
    """The model of a judge; loaded when it is asked to."""

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


@dataclass(frozen=True)
class HeldOutJudge:
    """A measure of images that selection does not optimise; what it gives stands in its `JudgeSetting`.

    Attributes:
        name: in the recipe.
        model: its model, by its section of the recipe and the torch device (`scoring.device`); loads nothing yet.
        check: refuses a section, without network, whose model cannot be loaded whatever happens, with a ModelError.
    """

    name: str
    model: Callable[[Any, str], JudgeModel]
    check: Callable[[Any], None]
