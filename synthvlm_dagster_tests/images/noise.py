"""A generator without a model: the seed alone decides the picture. It tells what it was asked for, and can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.identity import image_seed
from synthvlm_dagster.images.plan import plan_attempts
from synthvlm_dagster.images.plan import write_plan as write_plan_table
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.storage import Storage

SHARD = "0000"


class NoiseGenerator:
    """Draws noise in colour, 16 × 16 pixels.

    Attributes:
        batches: sizes of the batches that were denoised.
        seeds: of all images that were denoised, in order.
    """

    def __init__(
        self,
        log: Path | None = None,
        most_denoised: int = 1000,
        most_decoded: int = 1000,
        spoiled: dict[int, Drawn] | None = None,
        on_denoise: Callable[[], None] = lambda: None,
        on_decode: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            log: gets one line for every batch that was denoised, before anything is made of it.
            most_denoised: more at once do not fit into the device's memory.
            most_decoded: the same of decoding.
            spoiled: what comes out in place of the picture of a seed.
            on_denoise: called at every denoising, after the log is written.
            on_decode: called at every decoding.
        """
        self._log = log
        self._most_denoised = most_denoised
        self._most_decoded = most_decoded
        self._spoiled = spoiled or {}
        self._on_denoise = on_denoise
        self._on_decode = on_decode
        self.batches: list[int] = []
        self.seeds: list[int] = []
        self.denoising_threads: set[int] = set()

    def load(self, on_progress: Callable[[str], None] = lambda _: None) -> float:
        return 0.0

    def denoise(self, texts: Sequence[str], seeds: Sequence[int]) -> list[int]:
        assert len(texts) == len(seeds)
        _fit(len(seeds), self._most_denoised)
        self.batches.append(len(seeds))
        self.seeds.extend(seeds)
        self.denoising_threads.add(threading.get_ident())
        if self._log:
            with self._log.open("a") as file:
                file.write(json.dumps(list(seeds)) + "\n")
        self._on_denoise()
        return list(seeds)

    def decode(self, latents: list[int]) -> list[Drawn]:
        self._on_decode()
        _fit(len(latents), self._most_decoded)
        return [self._spoiled.get(seed) or Drawn(noise(seed)) for seed in latents]

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        return [text.endswith("…") for text in texts]

    def peak_memory(self) -> int | None:
        return None


def noise(seed: int) -> np.ndarray:
    """The picture of a seed."""
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def plain(level: int) -> Drawn:
    """A picture of one grey."""
    return Drawn(np.full((16, 16, 3), level, dtype=np.uint8))


def logged_seeds(log: Path) -> list[int]:
    """All seeds that generators with this log were asked for."""
    return [seed for line in log.read_text().splitlines() for seed in json.loads(line)]


def seed_of(recipe: Recipe, number: int, attempt: int = 0, retry: int = 0) -> int:
    """Seed of an image of `write_plan`."""
    return image_seed(recipe.seed, f"{number:016x}", attempt, retry)


def ids(numbers: Iterable[int], attempt: int = 0) -> list[str]:
    """Ids of images of `write_plan`."""
    return [f"{number:016x}-{attempt:02d}" for number in numbers]


def write_plan(storage: Storage, captions: int, attempts: int = 1, shards: int = 2) -> None:
    """Plan captions 0, 1, …, dealt out over the shards 0000, 0001, …."""
    rows = [
        {"caption_id": f"{number:016x}", "text": f"caption {number}", "shard": f"{number % shards:04d}"}
        for number in range(captions)
    ]
    write_plan_table(storage, plan_attempts(pl.DataFrame(rows), Attempts(per_caption=attempts), seed=0))


def _fit(size: int, most: int) -> None:
    if size > most:
        import torch

        raise torch.OutOfMemoryError(f"CUDA out of memory: {size} images")
