"""What draws images: the one interface that a shard knows of diffusion models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Drawn(NamedTuple):
    """One image, or why there is none."""

    image: np.ndarray | None
    """uint8, shape (height, width, 3), sRGB."""

    problem: str | None = None
    """Why the image cannot be used: not finite, refused by a safety checker."""


class Generator(Protocol):
    """A diffusion model in two steps, so that one batch can be decoded while the next is denoised."""

    def load(self, on_progress: Callable[[str], None]) -> float:
        """Get ready, if it is not, and say every ten seconds that it takes time; returns the seconds that it took."""
        ...

    def denoise(self, texts: Sequence[str], seeds: Sequence[int]) -> Any:
        """Latents of one image per text, on the device, the noise of each drawn from the seed at the same place.

        Raises:
            torch.OutOfMemoryError: the batch is too large for the device.
        """
        ...

    def decode(self, latents: Any) -> list[Drawn]:
        """The images of latents from `denoise`, in the same order. May be called from another thread.

        Raises:
            torch.OutOfMemoryError: the batch is too large for the device.
        """
        ...

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than what the model reads of them."""
        ...

    def peak_memory(self) -> int | None:
        """Most bytes of device memory in use since the last call; None where the device does not count them."""
        ...
