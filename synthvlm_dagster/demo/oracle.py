"""The analytic judge of the small world: looks at a picture and says which words of its caption are true.

Nothing here is learned, and no stage of the pipeline may import it: it measures, from outside, what the pipeline
selected. `look` reads a picture without knowing its caption; `judge` compares what it saw with a scene.

A picture is read in four steps: pixels near a palette colour are grouped into connected regions; each region's soft
coverage is compared with templates drawn by `world.shape_mask`; the rest of the picture is compared with every
background; and the caption's objects are matched with the regions in the way that makes most words true. Regions that
fit no template well, or two of them equally well (smears, soft blobs), have no shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from synthvlm_dagster.demo import world
from synthvlm_dagster.errors import ImageError

MIN_REGION = 16
"""Regions of fewer pixels are specks, not objects; the smallest object of the world covers about 120."""

MAX_COLOUR_DISTANCE = 60.0
"""Largest Euclidean sRGB distance between a region's colour and the palette colour it may be called by."""

MIN_FIT = 0.92
"""Least Tanimoto similarity with the best template at which a region has a shape.

True pictures stay above 0.95 through a good autoencoder (34 dB).
"""

MIN_LEAD = 0.045
"""Least lead of the best shape's fit over the next one's: blobs halfway between two shapes have neither."""

SIZE_RANGES: dict[str, tuple[float, float]] = {"large": (11.0, 17.0), "small": (6.0, 11.0)}
"""Size name → half-open interval of radii in pixels that go by it."""

MAX_BACKGROUND_ERROR = 14.0
"""Largest root mean square difference, in 8-bit steps, between a picture's ground and the background it may be."""

_PALETTE = np.array(list(world.COLOURS.values()), dtype=np.float32)
_MIDDLE_GREY = 226.0
_REACH = 20
_OFFSETS = tuple(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=2))
_RADIUS_STEP = 0.35
_CROSSWISE = ndimage.generate_binary_structure(2, 1)
_ALL_AROUND = ndimage.generate_binary_structure(2, 2)


@dataclass(frozen=True)
class SeenObject:
    """One region of colour, as it looks.

    Attributes:
        colour, shape, size: the world's words, or None where no word fits well enough.
        x, y, radius: of the best template, in pixels.
        fit: Tanimoto similarity with that template, in [0, 1].
    """

    colour: str | None
    shape: str | None
    size: str | None
    x: float
    y: float
    radius: float
    fit: float


@dataclass(frozen=True)
class Sight:
    """What a picture shows: its objects, largest first, and its background (None: like no known one)."""

    objects: tuple[SeenObject, ...]
    background: str | None


@dataclass(frozen=True)
class Verdict:
    """Which of a caption's attributes a picture shows.

    Attributes:
        count: there are as many objects as the caption names.
        colour, shape, size: every object of the caption is there and has this word.
        relation: the two objects stand as told; true for captions with one object.
        background: the background is the caption's.
        sight: what the picture shows.
    """

    count: bool
    colour: bool
    shape: bool
    size: bool
    relation: bool
    background: bool
    sight: Sight

    @property
    def all_correct(self) -> bool:
        """Whether every word of the caption is true."""
        return self.count and self.colour and self.shape and self.size and self.relation and self.background


def judge(image: np.ndarray, scene: world.Scene) -> Verdict:
    """Which attributes of the scene the picture shows.

    Args:
        image: uint8, shape (64, 64, 3), sRGB.
        scene: what the caption says.

    Raises:
        ImageError: the image has another shape or type.
    """
    sight = look(image)
    colour, shape, size, relation = _best_match(scene, sight.objects)
    return Verdict(
        count=len(sight.objects) == len(scene.objects),
        colour=colour,
        shape=shape,
        size=size,
        relation=relation,
        background=sight.background == scene.background,
        sight=sight,
    )


def look(image: np.ndarray) -> Sight:
    """The objects and the background that a picture shows.

    Args:
        image: uint8, shape (64, 64, 3), sRGB.

    Raises:
        ImageError: the image has another shape or type.
    """
    expected = (world.IMAGE_SIZE, world.IMAGE_SIZE, 3)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != expected:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"the judge reads uint8 pictures of shape {expected}, not {found}")
    pixels = image.astype(np.float32)
    regions = _regions(pixels)
    background = _background(pixels, regions)
    ground = world.background_image(background).astype(np.float32) if background else _MIDDLE_GREY
    labels = np.zeros(pixels.shape[:2], dtype=np.int32)
    for number, region in enumerate(regions, start=1):
        labels[region] = number
    objects = [_describe(pixels, labels, number, ground) for number in range(1, len(regions) + 1)]
    return Sight(tuple(sorted(objects, key=lambda seen: -seen.radius)), background)


def _regions(pixels: np.ndarray) -> list[np.ndarray]:
    """Masks of the connected regions that are at least half covered by a palette colour."""
    closeness = _closeness(pixels, _PALETTE, _MIDDLE_GREY)
    covered = closeness.max(axis=0) > 0.5
    labels, n_regions = ndimage.label(covered, _CROSSWISE)
    areas = np.bincount(labels.ravel(), minlength=n_regions + 1)
    regions = []
    for number in np.flatnonzero(areas >= MIN_REGION):
        if number:
            regions.extend(_split_by_colour(labels == number, closeness))
    return regions


def _split_by_colour(region: np.ndarray, closeness: np.ndarray) -> list[np.ndarray]:
    """The region's parts, where objects of different colours touch; mostly the region itself."""
    nearest = closeness.argmax(axis=0)
    core = ndimage.binary_erosion(region, _ALL_AROUND)
    counts = np.bincount(nearest[core], minlength=len(_PALETTE))
    present = np.flatnonzero(counts >= max(MIN_REGION, 0.1 * core.sum()))
    if len(present) < 2:
        return [region]
    nearest_present = present[closeness[present].argmax(axis=0)]
    parts = []
    for colour in present:
        labels, n_parts = ndimage.label(region & (nearest_present == colour), _CROSSWISE)
        sizes = np.bincount(labels.ravel(), minlength=n_parts + 1)
        # A colour's fringe around another one is thin and vanishes under erosion; an object's part does not.
        for number in np.flatnonzero(sizes >= MIN_REGION):
            part = labels == number
            if number and ndimage.binary_erosion(part, _ALL_AROUND).any():
                parts.append(part)
    return parts


def _closeness(pixels: np.ndarray, colours: np.ndarray, ground: np.ndarray | float) -> np.ndarray:
    """How far each pixel has gone from the ground's colour to each of `colours`: (n, 64, 64), 1 where it arrived.

    For a pixel that an object of that colour covers in part, this is the covered part.
    """
    colours = colours[:, None, None, :]
    from_colour = np.sqrt(np.square(pixels[None] - colours).sum(axis=-1))
    whole_way = np.sqrt(np.square(ground - colours).sum(axis=-1))
    return np.clip(1 - from_colour / whole_way, 0, 1)


def _background(pixels: np.ndarray, regions: Sequence[np.ndarray]) -> str | None:
    """The background most like the pixels that lie well outside every region, if any is like them."""
    occupied = np.zeros(pixels.shape[:2], dtype=bool)
    for region in regions:
        occupied |= region
    free = ~ndimage.binary_dilation(occupied, _ALL_AROUND, iterations=2)
    if free.sum() < pixels.shape[0] * pixels.shape[1] // 8:
        return None
    seen = pixels[free]
    errors = {
        name: float(np.sqrt(np.square(seen - world.background_image(name)[free]).mean())) for name in world.BACKGROUNDS
    }
    best = min(errors, key=errors.__getitem__)
    return best if errors[best] <= MAX_BACKGROUND_ERROR else None


def _describe(pixels: np.ndarray, labels: np.ndarray, number: int, ground: np.ndarray | float) -> SeenObject:
    region = labels == number
    core = ndimage.binary_erosion(region, _ALL_AROUND)
    shade = np.median(pixels[core if core.any() else region], axis=0)
    distances = np.sqrt(np.square(_PALETTE - shade).sum(axis=1))
    colour = list(world.COLOURS)[distances.argmin()] if distances.min() <= MAX_COLOUR_DISTANCE else None
    near = ndimage.binary_dilation(region, _ALL_AROUND, iterations=2) & ((labels == 0) | region)
    coverage = np.where(near, _closeness(pixels, shade[None], ground)[0], 0)
    fits = {shape: _fit(coverage, shape) for shape in world.SHAPES}
    shape, runner_up = sorted(fits, key=lambda name: -fits[name][0])[:2]
    fit, x, y, radius = fits[shape]
    has_shape = fit >= MIN_FIT and fit - fits[runner_up][0] >= MIN_LEAD
    sizes = [name for name, (least, most) in SIZE_RANGES.items() if least <= radius < most]
    return SeenObject(
        colour=colour,
        shape=shape if has_shape else None,
        size=sizes[0] if sizes else None,
        x=x,
        y=y,
        radius=radius,
        fit=fit,
    )


def _fit(coverage: np.ndarray, shape: str) -> tuple[float, float, float, float]:
    """Tanimoto similarity, x, y and radius of the shape's template that is most like the coverage.

    The Tanimoto similarity a·b / (a·a + b·b − a·b) is the intersection over union of soft masks: 1 for equal ones, and
    lower for a blurred edge than for a sharp one.
    """
    area = float(coverage.sum())
    rows, columns = np.arange(coverage.shape[0]), np.arange(coverage.shape[1])
    # Pixel (i, j) covers [i, i + 1) × [j, j + 1).
    centre_y = float(coverage.sum(axis=1) @ rows) / area + 0.5
    centre_x = float(coverage.sum(axis=0) @ columns) / area + 0.5
    unit_area, unit_drop = _moments(shape)
    radius = np.sqrt(area / unit_area)
    row, column = round(centre_y - unit_drop * radius), round(centre_x)
    window = np.pad(coverage, _REACH)[row : row + 2 * _REACH, column : column + 2 * _REACH].ravel()
    middle = round(radius / _RADIUS_STEP)
    best = (0.0, centre_x, centre_y, float(radius))
    for step in range(max(middle - 2, 1), middle + 3):
        templates, squares = _templates(shape, step)
        common = templates @ window
        similarity = common / (squares + window @ window - common)
        winner = int(similarity.argmax())
        if similarity[winner] > best[0]:
            dy, dx = _OFFSETS[winner]
            best = (float(similarity[winner]), column + dx, row + dy, step * _RADIUS_STEP)
    return best


@lru_cache
def _moments(shape: str) -> tuple[float, float]:
    """Area in squared radii of a shape, and how many radii its centroid lies below its centre."""
    radius, middle = 16.0, world.IMAGE_SIZE / 2
    mask = world.shape_mask(shape, world.Placement(middle, middle, radius))
    rows = np.arange(world.IMAGE_SIZE) + 0.5
    centroid = float(mask.sum(axis=1) @ rows / mask.sum())
    return float(mask.sum()) / radius**2, (centroid - middle) / radius


@lru_cache(maxsize=256)
def _templates(shape: str, radius_step: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverages of a 40×40 window with the shape off its middle by each of `_OFFSETS`, and their squared norms.

    Returns:
        float32 of shapes (25, 1600) and (25,).
    """
    middle, radius = world.IMAGE_SIZE / 2, radius_step * _RADIUS_STEP
    inner = slice(int(middle) - _REACH, int(middle) + _REACH)
    placements = (world.Placement(middle + dx, middle + dy, radius) for dy, dx in _OFFSETS)
    templates = np.stack([world.shape_mask(shape, placement)[inner, inner].ravel() for placement in placements])
    return templates, np.square(templates).sum(axis=1)


def _best_match(scene: world.Scene, seen: Sequence[SeenObject]) -> tuple[bool, bool, bool, bool]:
    """Colour, shape, size and relation of the scene, with its objects matched to those seen in the most truthful way.

    An object of the scene that finds no partner has none of its words. Between matches with equally many true words
    the one with the true relation counts.
    """
    partners: list[SeenObject | None] = list(seen[:4])
    partners += [None] * max(0, len(scene.objects) - len(partners))
    best, most = (False, False, False, False), (-1, False)
    for match in itertools.permutations(partners, len(scene.objects)):
        pairs = list(zip(scene.objects, match, strict=True))
        colours = [partner is not None and partner.colour == thing.colour for thing, partner in pairs]
        shapes = [partner is not None and partner.shape == thing.shape for thing, partner in pairs]
        sizes = [partner is not None and partner.size == thing.size for thing, partner in pairs]
        relation = _stand_as_told(scene.relation, match)
        score = (sum(colours) + sum(shapes) + sum(sizes), relation)
        if score > most:
            best, most = (all(colours), all(shapes), all(sizes), relation), score
    return best


def _stand_as_told(relation: str | None, match: Sequence[SeenObject | None]) -> bool:
    """Whether the first object stands to the second as the relation says: farther along its axis than across it."""
    if relation is None:
        return True
    first, second = match
    if first is None or second is None:
        return False
    right, down = first.x - second.x, first.y - second.y
    if abs(right) >= abs(down):
        return relation == ("to the right of" if right > 0 else "to the left of")
    return relation == ("below" if down > 0 else "above")
