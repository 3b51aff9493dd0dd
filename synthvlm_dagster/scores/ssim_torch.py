"""SSIM of many images at once on a GPU, bit for bit on the same resized pixels as on the CPU.

Pillow resizes images of 8 bits in whole numbers: its filter's weights are rounded to 22 bits behind the point, and each
of the two passes, along rows and along columns, is rounded to 8 bits (src/libImaging/Resample.c of Pillow). All of
it fits into 32 bits, so that any device can repeat it exactly.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from synthvlm_dagster.scores.ssim import GAUSSIAN_WEIGHTS, UNIFORM_SIDE, Channels, Window, require_measurable

_BITS = 22
_LUMA = (19595, 38470, 7471)
"""Pillow's weights of red, green and blue, in 1/65536."""
_MOST_PROBES = 256
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def resize_ssim_tensor(
    images: torch.Tensor, *, size: int | None = None, channels: Channels = "gray", window: Window = "uniform"
) -> torch.Tensor:
    """`resize_ssim` of a batch, on the device where it is.

    Args:
        images: uint8, shape (n, height, width, 3), sRGB.
        size: see `resize_ssim`.
        channels: see `resize_ssim`.
        window: see `resize_ssim`.

    Returns:
        float64 of shape (n,), in [-1, 1], equal to `resize_ssim` within 1e-12.

    Raises:
        ImageError: see `resize_ssim`.
    """
    dtype = np.dtype(str(images.dtype).removeprefix("torch."))
    size = require_measurable(tuple(images.shape[1:]), dtype, size, window)
    before = images.movedim(-1, 1).int()
    if channels == "gray":
        red, green, blue = (before[:, number] * weight for number, weight in enumerate(_LUMA))
        before = ((red + green + blue + (1 << 15)) >> 16)[:, None]
    height, width = before.shape[2:]
    after = resize_like_pillow(resize_like_pillow(before, size, size), height, width)
    sums = (before, after, before * before + after * after, before * after)
    if window == "uniform":
        pixels = UNIFORM_SIDE**2
        a, b, squared, mixed = (_sum_windows(each, [1] * UNIFORM_SIDE).double() / pixels for each in sums)
        scale = pixels / (pixels - 1)
    else:
        a, b, squared, mixed = (_sum_windows(each.double(), GAUSSIAN_WEIGHTS.tolist()) for each in sums)
        scale = 1.0
    product, squares = a * b, a * a + b * b
    above = (2 * product + _C1) * (2 * scale * (mixed - product) + _C2)
    below = (squares + _C1) * (scale * (squared - squares) + _C2)
    return (above / below).mean(dim=(1, 2, 3))


def resize_like_pillow(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pillow's bilinear `resize`, to the last bit.

    Args:
        images: int32 in [0, 255], shape (n, channels, height before, width before).
        height: pixels after.
        width: pixels after.

    Returns:
        int32 in [0, 255], shape (n, channels, height, width).
    """
    if _begins_with_columns(images.shape[2], images.shape[3], height, width):
        return _resize_rows(_resize_rows(images.mT, height).mT, width)
    return _resize_rows(_resize_rows(images, width).mT, height).mT


@lru_cache(maxsize=64)
def _begins_with_columns(height: int, width: int, new_height: int, new_width: int) -> bool:
    """Whether Pillow resizes images of this shape along columns first.

    Usually it does not; when it does differs between its versions, so it is asked, with images of noise. A small image
    often comes out alike in either order: they are asked for until one does not.
    """
    draw = np.random.default_rng(0)
    for _ in range(_MOST_PROBES):
        noise = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        planes = torch.from_numpy(noise).movedim(-1, 0)[None].int()
        rows_first = _resize_rows(_resize_rows(planes, new_width).mT, new_height).mT
        columns_first = _resize_rows(_resize_rows(planes.mT, new_height).mT, new_width)
        if not torch.equal(rows_first, columns_first):
            resized = Image.fromarray(noise).resize((new_width, new_height), Image.Resampling.BILINEAR)
            return np.array_equal(columns_first[0].movedim(0, -1).numpy(), np.asarray(resized))
    return False


def _resize_rows(images: torch.Tensor, width: int) -> torch.Tensor:
    if images.shape[3] == width:
        return images
    places, weights = (torch.from_numpy(each).to(images.device) for each in _bilinear_weights(images.shape[3], width))
    total = torch.full((*images.shape[:3], width), 1 << (_BITS - 1), dtype=torch.int32, device=images.device)
    for place, weight in zip(places, weights, strict=True):
        total += images[..., place] * weight
    return (total >> _BITS).clamp(0, 255)


@lru_cache(maxsize=64)
def _bilinear_weights(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of a row make each pixel of the resized one, and their weights in 1/2**22.

    Returns:
        Two arrays of shape (pixels that make one, after): places (int64) and weights (int32); 0 where fewer do.
    """
    scale = before / after
    support = max(scale, 1.0)
    count = 2 * math.ceil(support) + 1
    places, weights = np.zeros((count, after), np.int64), np.zeros((count, after), np.int32)
    for target in range(after):
        centre = (target + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), before)
        distances = (np.arange(first, last) - centre + 0.5) * (1.0 / support)
        shares = np.maximum(1.0 - np.abs(distances), 0.0)
        # Summed one after another, as Pillow does: another order rounds differently.
        shares /= np.cumsum(shares)[-1]
        places[: last - first, target] = np.arange(first, last)
        weights[: last - first, target] = (0.5 + shares * (1 << _BITS)).astype(np.int32)
    return places, weights


def _sum_windows(images: torch.Tensor, weights: list[int] | list[float]) -> torch.Tensor:
    """Weighted sums over all windows inside the images, along rows and then along columns."""
    for axis in (3, 2):
        count = images.shape[axis] - len(weights) + 1
        parts = (images.narrow(axis, start, count) * weight for start, weight in enumerate(weights))
        images = sum(parts, torch.zeros((), dtype=images.dtype, device=images.device))
    return images
