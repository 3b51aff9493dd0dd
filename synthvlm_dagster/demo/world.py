"""A small world of coloured shapes: its scenes, its pictures and its language.

One or two flat shapes stand on a light background. Every scene can be drawn (`render`), described in several
phrasings (`write_caption`) and read back from its description (`parse_caption`). One scene in six is held out:
the models of `synthvlm_dagster.demo.models` never saw it, neither as a picture nor as a caption.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

IMAGE_SIZE = 64
"""Side of every picture, in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 25, 35),
    "orange": (250, 130, 10),
    "yellow": (240, 215, 20),
    "green": (20, 150, 60),
    "blue": (30, 85, 225),
    "purple": (130, 35, 165),
}
"""Colour name → sRGB."""

SHAPES = ("circle", "square", "triangle", "cross")

SIZES: dict[str, float] = {"large": 14.0, "small": 8.0}
"""Size name → radius in pixels, before the jitter of `SIZE_JITTER`."""

SIZE_JITTER = 0.05
"""Largest relative change of a radius."""

RELATIONS = ("to the left of", "to the right of", "above", "below")
"""Where the first object of a two-object scene stands, seen from the second."""

OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}

BACKGROUNDS = ("plain white", "plain grey", "striped", "dotted", "checkered")

HELD_OUT_ONE_IN = 6
"""One scene in this many is kept from training."""

_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Object:
    """One shape: its words, not its place."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        """Its words in their order, such as "large red circle"."""
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What a caption says: one object, or two with the relation of the first to the second.

    Attributes:
        objects: one or two objects.
        background: one of `BACKGROUNDS`.
        relation: one of `RELATIONS` when there are two objects, else None.

    Raises:
        ValueError: the relation is missing, or given for a single object.
    """

    objects: tuple[Object, ...]
    background: str
    relation: str | None = None

    def __post_init__(self) -> None:
        """Refuse a relation without two objects, and two objects without one."""
        if len(self.objects) not in (1, 2) or (self.relation is None) != (len(self.objects) == 1):
            raise ValueError(f"a scene has one object, or two and a relation: {self}")

    def canonical(self) -> Scene:
        """The same scene told from the left or upper object, so that equal scenes compare equal."""
        if self.relation in ("to the right of", "below"):
            return Scene(self.objects[::-1], self.background, OPPOSITE[self.relation])
        return self


@dataclass(frozen=True)
class Placement:
    """Where an object is drawn: centre and radius in pixels, x to the right and y down."""

    x: float
    y: float
    radius: float


ALL_OBJECTS = tuple(Object(size, colour, shape) for size, colour, shape in itertools.product(SIZES, COLOURS, SHAPES))


def all_scenes(n_objects: int) -> Iterator[Scene]:
    """Every distinct scene in canonical form: 240 of one object, 22,560 of two different ones."""
    for background in BACKGROUNDS:
        if n_objects == 1:
            yield from (Scene((thing,), background) for thing in ALL_OBJECTS)
        else:
            for relation, pair in itertools.product(
                ("to the left of", "above"), itertools.permutations(ALL_OBJECTS, 2)
            ):
                yield Scene(pair, background, relation)


def sample_scene(rng: np.random.Generator, n_objects: int | None = None) -> Scene:
    """A scene drawn evenly; one object or two, each half of the time, unless `n_objects` says which.

    The two objects of a scene always differ in at least one word.
    """
    if n_objects is None:
        n_objects = int(rng.integers(1, 3))
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    chosen = rng.choice(len(ALL_OBJECTS), size=n_objects, replace=False)
    objects = tuple(ALL_OBJECTS[index] for index in chosen)
    relation = RELATIONS[rng.integers(len(RELATIONS))] if n_objects == 2 else None
    return Scene(objects, background, relation)


def is_held_out(scene: Scene) -> bool:
    """Whether training must never see the scene, however it is told."""
    canonical = scene.canonical()
    key = "|".join([*map(str, canonical.objects), canonical.relation or "", canonical.background])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % HELD_OUT_ONE_IN == 0


# Pictures


def place(scene: Scene, rng: np.random.Generator) -> tuple[Placement, ...]:
    """Centres and radii for the scene's objects, in the scene's order.

    A single object stands within 4 pixels of the middle, along each axis. Two objects stand 30 pixels apart along
    their relation, each off by up to 1.5 pixels along it (0.3 when large) and 4 across it. They do not touch, except
    that the lower corners of a large triangle may overlap another large object beside it, by a few pixels.
    """
    radii = [SIZES[thing.size] * (1 + rng.uniform(-SIZE_JITTER, SIZE_JITTER)) for thing in scene.objects]
    middle = IMAGE_SIZE / 2
    if len(scene.objects) == 1:
        x, y = middle + rng.uniform(-4, 4, size=2)
        return (Placement(float(x), float(y), radii[0]),)
    first_is_near_origin = scene.relation in ("to the left of", "above")
    along = [middle - 15, middle + 15] if first_is_near_origin else [middle + 15, middle - 15]
    placements = []
    for thing, centre, radius in zip(scene.objects, along, radii, strict=True):
        slack = 0.3 if thing.size == "large" else 1.5
        a = centre + float(rng.uniform(-slack, slack))
        b = middle + float(rng.uniform(-4, 4))
        horizontal = scene.relation in ("to the left of", "to the right of")
        placements.append(Placement(a, b, radius) if horizontal else Placement(b, a, radius))
    return tuple(placements)


def shape_mask(shape: str, placement: Placement) -> np.ndarray:
    """How much of each pixel a shape covers.

    A circle fills its radius; a square has half-side 0.89 radius (a circle's area); an upright triangle has its
    corners 1.1 radius from the centre line; a cross is two bars 0.7 radius wide.

    Returns:
        float32, shape (64, 64), in [0, 1]: the mean of 4×4 samples per pixel.

    Raises:
        KeyError: the shape is not one of `SHAPES`.
    """
    steps = (np.arange(IMAGE_SIZE * _SUPERSAMPLING, dtype=np.float32) + 0.5) / _SUPERSAMPLING
    x = ((steps - placement.x) / placement.radius)[None, :]
    y = ((steps - placement.y) / placement.radius)[:, None]
    inside = _INSIDE[shape](x, y)
    blocks = inside.reshape(IMAGE_SIZE, _SUPERSAMPLING, IMAGE_SIZE, _SUPERSAMPLING)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


_INSIDE = {
    "circle": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: (np.abs(x) <= 0.89) & (np.abs(y) <= 0.89),
    "triangle": lambda x, y: (y <= 0.9) & (np.abs(x) <= (y + 1.0) * 1.1 / 1.9),
    "cross": lambda x, y: ((np.abs(x) <= 0.35) & (np.abs(y) <= 1)) | ((np.abs(y) <= 0.35) & (np.abs(x) <= 1)),
}


@lru_cache
def background_image(background: str) -> np.ndarray:
    """The empty background, always the same: uint8, shape (64, 64, 3), read-only.

    Raises:
        KeyError: the background is not one of `BACKGROUNDS`.
    """
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    dark = {
        "plain white": np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=bool),
        "plain grey": np.ones((IMAGE_SIZE, IMAGE_SIZE), dtype=bool),
        "striped": (y // 4) % 2 == 1,
        "dotted": (x % 8 - 3.5) ** 2 + (y % 8 - 3.5) ** 2 < 5,
        "checkered": ((x // 8) + (y // 8)) % 2 == 1,
    }[background]
    image = np.where(dark, 205, 248).astype(np.uint8)
    image = np.repeat(image[..., None], 3, axis=2)
    image.flags.writeable = False
    return image


def draw(scene: Scene, placements: tuple[Placement, ...]) -> np.ndarray:
    """The scene with its objects at the given places: uint8, shape (64, 64, 3), sRGB."""
    image = background_image(scene.background).astype(np.float32)
    for thing, placement in zip(scene.objects, placements, strict=True):
        cover = shape_mask(thing.shape, placement)[..., None]
        image += cover * (np.array(COLOURS[thing.colour], dtype=np.float32) - image)
    return np.rint(image).astype(np.uint8)


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A picture of the scene: uint8, shape (64, 64, 3), sRGB; `rng` moves the objects a little."""
    return draw(scene, place(scene, rng))


# Language

ONE_OBJECT_PHRASINGS = (
    "a {first} on a {background} background",
    "there is a {first} on a {background} background",
    "a {first} is on a {background} background",
    "in the picture is a {first} on a {background} background",
    "this is a photo of a {first}, set on a {background} background",
    "a {first_shape} that is {first_size} and {first_colour}, on a {background} background",
    "on a {background} background we see a {first}",
)

TWO_OBJECT_PHRASINGS = (
    "a {first} {relation} a {second} on a {background} background",
    "a {first} is {relation} a {second} on a {background} background",
    "there is a {first} {relation} a {second}, on a {background} background",
    "in the picture is a {first} {relation} a {second}, on a {background} background",
    "{relation} a {second} is a {first}, on a {background} background",
    "on a {background} background we see a {first} {relation} a {second}",
)


def phrasings(scene: Scene) -> tuple[str, ...]:
    """Every way in which `write_caption` can describe the scene, as sentences with a capital and a full stop."""
    templates = ONE_OBJECT_PHRASINGS if len(scene.objects) == 1 else TWO_OBJECT_PHRASINGS
    first = scene.objects[0]
    words = {
        "first": str(first),
        "first_size": first.size,
        "first_colour": first.colour,
        "first_shape": first.shape,
        "second": str(scene.objects[-1]),
        "relation": scene.relation,
        "background": scene.background,
    }
    sentences = (template.format(**words) for template in templates)
    return tuple(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)


def write_caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of the scene's phrasings, such as "There is a large red circle on a striped background."."""
    choices = phrasings(scene)
    return choices[rng.integers(len(choices))]


def parse_caption(text: str) -> Scene | None:
    """The scene that a caption describes, or None when the text is not a sentence of this world.

    Case, the spaces between words and a missing full stop do not matter.
    """
    sentence = re.sub(r"\s+", " ", text).strip().rstrip(".").rstrip().lower()
    for pattern in _patterns():
        match = pattern.fullmatch(sentence)
        if match:
            words = match.groupdict()
            if "first" in words:
                objects = [Object(*words["first"].split())]
            else:
                objects = [Object(words["first_size"], words["first_colour"], words["first_shape"])]
            if "second" in words:
                objects.append(Object(*words["second"].split()))
            return Scene(tuple(objects), words["background"], words.get("relation"))
    return None


@lru_cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    one_of = {
        "size": "|".join(SIZES),
        "colour": "|".join(COLOURS),
        "shape": "|".join(SHAPES),
        "relation": "|".join(RELATIONS),
        "background": "|".join(BACKGROUNDS),
    }
    thing = "(?:{size}) (?:{colour}) (?:{shape})".format(**one_of)
    groups = {
        "first": f"(?P<first>{thing})",
        "second": f"(?P<second>{thing})",
        **{f"first_{word}": f"(?P<first_{word}>{one_of[word]})" for word in ("size", "colour", "shape")},
        **{word: f"(?P<{word}>{one_of[word]})" for word in ("relation", "background")},
    }
    return tuple(re.compile(template.format(**groups)) for template in ONE_OBJECT_PHRASINGS + TWO_OBJECT_PHRASINGS)


def vocabulary() -> tuple[str, ...]:
    """Every word of the world's captions, lower case, sorted."""
    sentences = list(ONE_OBJECT_PHRASINGS + TWO_OBJECT_PHRASINGS)
    words = {word for sentence in sentences for word in re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", sentence))}
    for phrase in (*COLOURS, *SHAPES, *SIZES, *RELATIONS, *BACKGROUNDS):
        words.update(phrase.split())
    return tuple(sorted(words))
