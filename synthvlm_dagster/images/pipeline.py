"""Denoising, decoding and encoding at the same time: the device never waits for a file."""

from __future__ import annotations

import os
from collections import abc, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, Protocol, TypeVar

from synthvlm_dagster.images.batches import Batches, is_out_of_memory
from synthvlm_dagster.images.generator import Drawn, Generator

_MOST_ENCODERS = 8
_BATCHES_BEHIND = 1
"""Batches that may wait for their decoding while the next is denoised; each holds its latents on the device."""


class Prompt(Protocol):
    """What is drawn, and from which seed."""

    @property
    def text(self) -> str:
        """The caption."""

    @property
    def seed(self) -> int:
        """Of the initial noise."""


P = TypeVar("P", bound=Prompt)
Finished = TypeVar("Finished")


class _Batch(NamedTuple, Generic[P]):
    prompts: list[P]
    size: int
    """With its padding."""
    overlapped: bool
    drawn: Future[list[Drawn]]


def draw_images(
    generator: Generator,
    prompts: Sequence[P],
    batches: Batches,
    finish: Callable[[P, Drawn], Finished],
    on_warning: Callable[[str], None],
) -> abc.Generator[tuple[P, Future[Finished]], None, None]:
    """Draw prompts in batches; while one batch is denoised, the one before it is decoded and finished.

    Denoising stays in the caller's thread (CUDA graphs belong to a thread), decoding has one thread, `finish` several.
    At most two batches are on the device. Closing the iterator, or an error anywhere, ends the work with the batches
    that are on the device; their images are lost.

    Args:
        generator: loaded.
        prompts: in the order in which they are drawn.
        batches: how many at once; what does not fit is drawn again in smaller batches.
        finish: checks and encodes one image.
        on_warning: told about batches that do not fit.

    Yields:
        Each prompt once, in the order of drawing, and what will be the result of `finish`.

    Raises:
        RecipeError: even one image does not fit into the device's memory.
    """
    waiting = deque(prompts)
    behind: deque[_Batch[P]] = deque()
    with (
        ThreadPoolExecutor(min(_MOST_ENCODERS, os.cpu_count() or 1), "encode") as encoders,
        ThreadPoolExecutor(1, "decode") as decoder,
    ):
        try:
            while waiting or behind:
                if waiting:
                    taken = [waiting.popleft() for _ in range(min(batches.size, len(waiting)))]
                    padded = batches.padded(taken)
                    drawn = _draw(generator, padded, decoder)
                    if drawn is None:
                        overlapped = bool(behind)
                        yield from _collect(behind, 0, waiting, batches, finish, encoders, on_warning)
                        waiting.extendleft(reversed(taken))
                        batches.shrink(len(padded), overlapped, on_warning)
                        continue
                    behind.append(_Batch(taken, len(padded), batches.overlap, drawn))
                allowed = _BATCHES_BEHIND if waiting and batches.overlap else 0
                yield from _collect(behind, allowed, waiting, batches, finish, encoders, on_warning)
        finally:
            for batch in behind:
                batch.drawn.cancel()


def _draw(generator: Generator, prompts: list[P], decoder: ThreadPoolExecutor) -> Future[list[Drawn]] | None:
    """Denoise a batch and have it decoded; None when it does not fit into the device's memory."""
    try:
        latents = generator.denoise([prompt.text for prompt in prompts], [prompt.seed for prompt in prompts])
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise
    return decoder.submit(generator.decode, latents)


def _collect(
    behind: deque[_Batch[P]],
    allowed: int,
    waiting: deque[P],
    batches: Batches,
    finish: Callable[[P, Drawn], Finished],
    encoders: ThreadPoolExecutor,
    on_warning: Callable[[str], None],
) -> abc.Generator[tuple[P, Future[Finished]], None, None]:
    """Hand on what is decoded, and wait until no more than `allowed` batches are not."""
    while behind and (len(behind) > allowed or behind[0].drawn.done()):
        prompts, size, overlapped, drawn = behind.popleft()
        error = drawn.exception()
        if error is None:
            # Padding has made more images than there are prompts.
            for prompt, image in zip(prompts, drawn.result(), strict=False):
                yield prompt, encoders.submit(finish, prompt, image)
        elif is_out_of_memory(error):
            # The error refers to what the failed call had on the device.
            del error, drawn
            waiting.extendleft(reversed(prompts))
            batches.shrink(size, overlapped, on_warning)
        else:
            raise error
