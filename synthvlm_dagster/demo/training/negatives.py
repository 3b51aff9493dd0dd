"""Pictures and captions that are nearly right: what the CLIP must learn to score below the truth."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from synthvlm_dagster.demo import world
from synthvlm_dagster.demo.training.pool import Pool

FAILURES = (
    "empty",
    "missing object",
    "extra object",
    "other background",
    "blob",
    "partial shape",
    "blended shapes",
    "blended colours",
    "smear",
)


@dataclass(frozen=True)
class Negatives:
    """One near miss of each kind for the first scenes of a pool.

    Attributes:
        swapped_captions: the caption of the scene with one attribute changed.
        swapped_images: uint8, shape (n, 64, 64, 3); the picture of that changed scene.
        failed_images: uint8, shape (n, 64, 64, 3); what a poor generator draws for the true caption.
        failures: which of `FAILURES` each failed image shows.
    """

    swapped_captions: list[str]
    swapped_images: np.ndarray
    failed_images: np.ndarray
    failures: list[str]

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.swapped_captions)


def swap_one_attribute(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """The scene with one word changed: a size, colour or shape, the relation, or the background."""
    while True:
        changed = _swap(scene, rng)
        differs = len(set(changed.objects)) == len(changed.objects) and changed.canonical() != scene.canonical()
        if differs:
            return changed


def _swap(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    kinds = ["size", "colour", "shape", "background"] + (["relation"] if scene.relation else [])
    kind = kinds[rng.integers(len(kinds))]
    if kind == "background":
        return dataclasses.replace(scene, background=_other(world.BACKGROUNDS, scene.background, rng))
    if kind == "relation":
        return dataclasses.replace(scene, relation=_other(world.RELATIONS, scene.relation, rng))
    options = {"size": tuple(world.SIZES), "colour": tuple(world.COLOURS), "shape": world.SHAPES}[kind]
    objects = list(scene.objects)
    position = rng.integers(len(objects))
    value = _other(options, getattr(objects[position], kind), rng)
    objects[position] = dataclasses.replace(objects[position], **{kind: value})
    return dataclasses.replace(scene, objects=tuple(objects))


def _other(options: tuple[str, ...], value: str | None, rng: np.random.Generator) -> str:
    others = [option for option in options if option != value]
    return others[rng.integers(len(others))]


def draw_failure(scene: world.Scene, failure: str, rng: np.random.Generator) -> np.ndarray:
    """A picture that fails the scene in the given way: uint8, shape (64, 64, 3).

    "missing object" needs a scene of two objects, "extra object" one of a single object.

    Raises:
        ValueError: the failure is not one of `FAILURES`, or does not fit the scene.
    """
    placements = world.place(scene, rng)
    image = world.background_image(scene.background).astype(np.float32)
    if failure == "empty":
        return image.astype(np.uint8)
    if failure == "smear":
        picture = Image.fromarray(world.draw(scene, placements))
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(3, 7))))
    if failure == "other background":
        other = _other(world.BACKGROUNDS, scene.background, rng)
        return world.draw(dataclasses.replace(scene, background=other), placements)
    if failure == "missing object" and len(scene.objects) == 2:
        kept = int(rng.integers(2))
        return world.draw(world.Scene(scene.objects[kept : kept + 1], scene.background), placements[kept : kept + 1])
    if failure == "extra object" and len(scene.objects) == 1:
        second = world.ALL_OBJECTS[rng.integers(len(world.ALL_OBJECTS))]
        pair = world.Scene((scene.objects[0], second), scene.background, _other(world.RELATIONS, None, rng))
        return world.render(pair, rng)
    if failure not in ("blob", "partial shape", "blended shapes", "blended colours"):
        raise ValueError(f"failure {failure!r} does not fit a scene of {len(scene.objects)} objects")
    spoiled = int(rng.integers(len(scene.objects)))
    for position, (thing, placement) in enumerate(zip(scene.objects, placements, strict=True)):
        cover = world.shape_mask(thing.shape, placement)
        colour = np.array(world.COLOURS[thing.colour], dtype=np.float32)
        if position == spoiled:
            cover, colour = _spoil(thing, placement, cover, colour, failure, rng)
        image += cover[..., None] * (colour - image)
    return np.rint(image).astype(np.uint8)


def _spoil(
    thing: world.Object,
    placement: world.Placement,
    cover: np.ndarray,
    colour: np.ndarray,
    failure: str,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    if failure == "blob":
        sigma = placement.radius * rng.uniform(0.3, 0.6)
        wobbly = dataclasses.replace(placement, x=placement.x + rng.uniform(-2, 2), y=placement.y + rng.uniform(-2, 2))
        cover = np.maximum(cover, world.shape_mask("circle", wobbly) * rng.uniform(0, 1))
        return _blur(cover, sigma), colour
    if failure == "partial shape":
        y, x = np.mgrid[: world.IMAGE_SIZE, : world.IMAGE_SIZE]
        angle = rng.uniform(0, 2 * np.pi)
        side = (x - placement.x) * np.cos(angle) + (y - placement.y) * np.sin(angle)
        edge = placement.radius * rng.uniform(-0.4, 0.3)
        return cover * np.clip(edge - side + 0.5, 0, 1), colour
    if failure == "blended shapes":
        other = world.shape_mask(_other(world.SHAPES, thing.shape, rng), placement)
        share = rng.uniform(0.4, 0.7)
        return _blur((1 - share) * cover + share * other, 0.7), colour
    other_colour = np.array(world.COLOURS[_other(tuple(world.COLOURS), thing.colour, rng)], dtype=np.float32)
    if rng.random() < 0.5:
        return cover, colour + rng.uniform(0.4, 0.7) * (other_colour - colour)
    y, x = np.mgrid[: world.IMAGE_SIZE, : world.IMAGE_SIZE]
    angle = rng.uniform(0, 2 * np.pi)
    side = (x - placement.x) * np.cos(angle) + (y - placement.y) * np.sin(angle)
    share = np.clip(0.5 + side / placement.radius, 0, 1)[..., None]
    return cover, colour + share * (other_colour - colour)


def _blur(cover: np.ndarray, sigma: float) -> np.ndarray:
    picture = Image.fromarray(np.rint(cover * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32) / 255


def sample_failure(scene: world.Scene, rng: np.random.Generator) -> str:
    """One of the failures that fit the scene."""
    unfit = "missing object" if len(scene.objects) == 1 else "extra object"
    return _other(FAILURES, unfit, rng)


def open_negatives(folder: Path, pool: Pool, size: int, seed: int) -> Negatives:
    """Near misses for the pool's first `size` scenes, none of them held out; drawn first if not in `folder`."""
    folder = folder / f"negatives-{size}-{seed}"
    texts_path = folder / "texts.json"
    if not texts_path.exists():
        _draw_negatives(folder, pool, size, seed)
    texts = json.loads(texts_path.read_text())
    return Negatives(
        swapped_captions=texts["swapped_captions"],
        swapped_images=np.load(folder / "swapped.npy", mmap_mode="r"),
        failed_images=np.load(folder / "failed.npy", mmap_mode="r"),
        failures=texts["failures"],
    )


def _draw_negatives(folder: Path, pool: Pool, size: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    swapped_images = np.empty((size, world.IMAGE_SIZE, world.IMAGE_SIZE, 3), dtype=np.uint8)
    failed_images = np.empty_like(swapped_images)
    swapped_captions, failures = [], []
    for index in range(size):
        scene = world.parse_caption(pool.captions[index])
        assert scene is not None
        while world.is_held_out(swapped := swap_one_attribute(scene, rng)):
            pass
        failure = sample_failure(scene, rng)
        swapped_images[index] = world.render(swapped, rng)
        failed_images[index] = draw_failure(scene, failure, rng)
        swapped_captions.append(world.write_caption(swapped, rng))
        failures.append(failure)
    np.save(folder / "swapped.npy", swapped_images)
    np.save(folder / "failed.npy", failed_images)
    (folder / "texts.json").write_text(json.dumps({"swapped_captions": swapped_captions, "failures": failures}))
