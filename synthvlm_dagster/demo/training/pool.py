"""Rendered scenes with their captions, made once and kept on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthvlm_dagster.demo import world

LATENT_STRIDE = 4
"""Pixels per latent cell, along each axis."""


@dataclass(frozen=True)
class Pool:
    """Scenes that training may see, drawn and described.

    Attributes:
        images: uint8, shape (n, 64, 64, 3).
        object_cover: float16, shape (n, 16, 16), in [0, 1]; the largest cover by an object in each 4×4 block and
            the blocks around it.
        captions: one phrasing per scene, from which `world.parse_caption` gives the scene.
    """

    images: np.ndarray
    object_cover: np.ndarray
    captions: list[str]

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.captions)


def sample_training_scene(rng: np.random.Generator) -> world.Scene:
    """A scene that is not held out; half of the time it has one object."""
    n_objects = int(rng.integers(1, 3))
    while True:
        scene = world.sample_scene(rng, n_objects)
        if not world.is_held_out(scene):
            return scene


def open_pool(folder: Path, size: int, seed: int) -> Pool:
    """The pool of `size` scenes in `folder`; drawn first if it is not there."""
    folder = folder / f"pool-{size}-{seed}"
    captions_path = folder / "captions.json"
    if not captions_path.exists():
        _draw_pool(folder, size, seed)
    return Pool(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        object_cover=np.load(folder / "object_cover.npy"),
        captions=json.loads(captions_path.read_text()),
    )


def _draw_pool(folder: Path, size: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    images = np.empty((size, world.IMAGE_SIZE, world.IMAGE_SIZE, 3), dtype=np.uint8)
    cells = world.IMAGE_SIZE // LATENT_STRIDE
    object_cover = np.zeros((size, cells, cells), dtype=np.float16)
    captions = []
    for index in range(size):
        scene = sample_training_scene(rng)
        placements = world.place(scene, rng)
        images[index] = world.draw(scene, placements)
        for thing, placement in zip(scene.objects, placements, strict=True):
            mask = world.shape_mask(thing.shape, placement)
            blocks = mask.reshape(cells, LATENT_STRIDE, cells, LATENT_STRIDE).max(axis=(1, 3))
            object_cover[index] = np.maximum(object_cover[index], _dilate(blocks))
        captions.append(world.write_caption(scene, rng))
    np.save(folder / "images.npy", images)
    np.save(folder / "object_cover.npy", object_cover)
    (folder / "captions.json").write_text(json.dumps(captions))


def _dilate(blocks: np.ndarray) -> np.ndarray:
    padded = np.pad(blocks, 1)
    rows, columns = blocks.shape
    neighbours = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    return np.max(neighbours, axis=0)
