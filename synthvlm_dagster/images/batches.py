"""How many images are denoised together, and what happens when they do not fit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Generation

Item = TypeVar("Item")


class Batches:
    """The size of batches, found out once for all shards of a run.

    When the device runs out of memory the size is halved and stays so. A single image that does not fit beside the
    decoding of the one before it is denoised and decoded by itself from then on.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self.size = generation.batch_size
        self.overlap = True
        """Whether one batch is decoded while the next is denoised."""

    def padded(self, items: Sequence[Item]) -> list[Item]:
        """The items, the last repeated up to the size where the recipe compiles the model.

        A compiled model is compiled again for each new shape; without compilation, padding would only cost time.
        """
        missing = self.size - len(items) if self._generation.compile else 0
        return [*items, *[items[-1]] * max(0, missing)]

    def shrink(self, failed: int, overlapped: bool, on_warning: Callable[[str], None]) -> None:
        """Draw less at once from now on.

        Args:
            failed: size of the batch that did not fit.
            overlapped: whether another batch may have been on the device with it.
            on_warning: told what is done now.

        Raises:
            RecipeError: it was one image, alone.
        """
        _release_cached_memory()
        if failed > 1:
            self.size = min(self.size, failed // 2)
            on_warning(
                f"out of device memory with {failed} images at once: going on with {self.size}. Set "
                f"generation.batch_size to {self.size} to avoid this at the next run"
            )
        elif overlapped:
            self.overlap = False
            on_warning("out of device memory: from now on each image is decoded before the next is denoised")
        else:
            size = f"{self._generation.width} × {self._generation.height}"
            raise RecipeError(
                f"generation.batch_size: the device has not enough memory for even one image of {size} pixels. Make "
                "generation.width and generation.height smaller, use generation.dtype float16 or bfloat16 or "
                "generation.quantization, end other programs on the device, or use a larger one"
            )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _release_cached_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
