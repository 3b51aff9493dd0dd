"""The weighted score of an image, and the same of terms that are standardised."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import polars as pl

_STANDARDISED = ("clip_score", "ssim")
_FIXED_POINT = 2**60


class Weights(NamedTuple):
    """What the two terms of a score are multiplied by."""

    clip_score: float
    ssim: float


def weighted_score(ssim_weight: float) -> pl.Expr:
    """CLIPScore + λ·SSIM, the paper's score of a pair, from the columns `clip_score` and `ssim` (Float64)."""
    return (pl.col("clip_score") + ssim_weight * pl.col("ssim")).alias("weighted_score")


def standardised(deviations: tuple[float, float], ssim_weight: float) -> Weights:
    """The weights (1/σ_CLIP, λ/σ_SSIM) of the terms as they are that give both the same spread, SSIM's times λ.

    The means that standardisation also subtracts are the same for every image and change no order. A term that is the
    same for all images (σ = 0) has the weight 0.
    """
    clip, ssim = deviations
    return Weights(1 / clip if clip else 0.0, ssim_weight / ssim if ssim else 0.0)


def standard_deviations(scores: pl.LazyFrame) -> tuple[float, float]:
    """Standard deviations (of the population) of clip_score and ssim, to the last bit whatever the order of the rows.

    Sums of floats depend on their order, which threads decide; these are sums of integers in units of 2⁻⁶⁰. So a
    deviation below 2⁻³⁰, about 1e-9, is 0.
    """

    def exact_sum(values: pl.Expr) -> pl.Expr:
        return (values * _FIXED_POINT).cast(pl.Int128).sum()

    sums = scores.select(
        pl.len().alias("rows"),
        *(exact_sum(pl.col(name)).alias(name) for name in _STANDARDISED),
        *(exact_sum(pl.col(name) ** 2).alias(f"{name} squared") for name in _STANDARDISED),
    ).collect(engine="streaming")
    rows = sums["rows"].item()
    deviations = []
    for name in _STANDARDISED:
        mean, mean_of_squares = (
            Fraction(sums[column].item(), _FIXED_POINT * rows) for column in (name, f"{name} squared")
        )
        deviations.append(math.sqrt(max(float(mean_of_squares - mean**2), 0.0)))
    return deviations[0], deviations[1]
