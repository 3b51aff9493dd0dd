"""Compiled loops of SSIM: one pass over two images of 8 bits, a row of windows at a time.

All are in this one file: numba's cache notices that a kernel has changed by the file it is written in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthvlm_dagster.compiled import compiled

# Wang et al. (2004), with K1 = 0.01, K2 = 0.03 and a data range of 255.
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


@compiled
def uniform_ssim(first: NDArray[np.uint8], second: NDArray[np.uint8], side: int) -> float:
    """Mean SSIM over all square windows that lie inside the images, with the covariances of a sample.

    Sums over a window stay whole numbers – they fit into 32 bits for windows of up to 13 pixels a side – and are
    carried from window to window, so nothing is rounded before the last division.

    Args:
        first: shape (height, width).
        second: of the same shape.
        side: of a window, pixels.
    """
    height, width = first.shape
    across = width - side + 1
    pixels = side * side
    c1 = _C1 * pixels * pixels
    c2 = _C2 * pixels * (pixels - 1)
    columns = np.zeros((4, width), np.int32)
    sums = np.zeros((4, across), np.int32)
    totals = np.zeros(across)
    for row in range(height):
        for x in range(width):
            a, b = np.int32(first[row, x]), np.int32(second[row, x])
            columns[0, x] += a
            columns[1, x] += b
            columns[2, x] += a * a + b * b
            columns[3, x] += a * b
        if row < side - 1:
            continue
        for kind in range(4):
            total = np.int32(0)
            for x in range(side - 1):
                total += columns[kind, x]
            for x in range(across):
                total += columns[kind, x + side - 1]
                sums[kind, x] = total
                total -= columns[kind, x]
        for x in range(across):
            mine, others = np.float64(sums[0, x]), np.float64(sums[1, x])
            product, squares = mine * others, mine * mine + others * others
            covariance = pixels * np.float64(sums[3, x]) - product
            variances = pixels * np.float64(sums[2, x]) - squares
            totals[x] += ((2 * product + c1) * (2 * covariance + c2)) / ((squares + c1) * (variances + c2))
        top = row - side + 1
        for x in range(width):
            a, b = np.int32(first[top, x]), np.int32(second[top, x])
            columns[0, x] -= a
            columns[1, x] -= b
            columns[2, x] -= a * a + b * b
            columns[3, x] -= a * b
    return totals.sum() / (across * (height - side + 1))


@compiled
def weighted_ssim(first: NDArray[np.uint8], second: NDArray[np.uint8], weights: NDArray[np.float64]) -> float:
    """Mean SSIM over all windows that lie inside the images, each a product of weights down and across.

    Args:
        first: shape (height, width).
        second: of the same shape.
        weights: shape (side of a window,), with a sum of 1.
    """
    height, width = first.shape
    side = weights.size
    across = width - side + 1
    columns = np.zeros((4, width))
    sums = np.zeros((4, across))
    totals = np.zeros(across)
    for top in range(height - side + 1):
        columns[:] = 0
        for step in range(side):
            weight = weights[step]
            for x in range(width):
                a, b = np.float64(first[top + step, x]), np.float64(second[top + step, x])
                columns[0, x] += weight * a
                columns[1, x] += weight * b
                columns[2, x] += weight * (a * a + b * b)
                columns[3, x] += weight * (a * b)
        sums[:] = 0
        for kind in range(4):
            for step in range(side):
                weight = weights[step]
                for x in range(across):
                    sums[kind, x] += weight * columns[kind, x + step]
        for x in range(across):
            a, b = sums[0, x], sums[1, x]
            product, squares = a * b, a * a + b * b
            covariance, variances = sums[3, x] - product, sums[2, x] - squares
            totals[x] += ((2 * product + _C1) * (2 * covariance + _C2)) / ((squares + _C1) * (variances + _C2))
    return totals.sum() / (across * (height - side + 1))
