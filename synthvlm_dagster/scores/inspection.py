"""What is wrong with the scores of a shard."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.recipe import JUDGE_SETTINGS
from synthvlm_dagster.scores.naming import reduced_size
from synthvlm_dagster.scores.state import Measurements

# Rounding may carry the SSIM of a perfect copy past 1 by some 1e-16.
_TOLERANCE = 1e-9
_SSIM_TOLERANCE = 1e-6
_MEASURED_AGAIN = 2
_RANGES = {
    "clip_score": (0.0, 1.0),
    "ssim": (-1.0, 1.0),
    **{judge.column: (judge.lowest, judge.highest) for judge in JUDGE_SETTINGS.values()},
}


class ShardFaults(NamedTuple):
    """Counts of one shard's scores and of what is wrong with them."""

    scored: int
    """Images with a score."""
    missing: int
    """Images without one, or without the value of a judge of the recipe."""
    impossible: tuple[str, ...]
    """image_ids of which a score is NaN, infinite or out of its range, or CLIPScore or SSIM is null."""
    doubtful: tuple[str, ...]
    """image_ids, of the few measured again, whose SSIM by scikit-image is another."""


def inspect_scores(images: PlannedImages, measured: Measurements) -> ShardFaults:
    """Count a shard's images with, without and with impossible scores, and have scikit-image measure two SSIMs again.

    Raises:
        ImageError: an image that is measured again cannot be decoded.
    """
    judges = images.recipe.scoring.judges.columns
    scores = measured.scores(images)
    possible = pl.all_horizontal(
        *(_in_range(column).fill_null(False) for column in ("clip_score", "ssim")),
        *(_in_range(column).fill_null(True) for column in judges),
    )
    impossible = scores.filter(~possible)["image_id"].sort()
    return ShardFaults(scores.height, measured.missing(images).height, tuple(impossible), _doubtful(images, scores))


def _doubtful(images: PlannedImages, scores: pl.DataFrame) -> tuple[str, ...]:
    from synthvlm_dagster.scores.ssim_reference import reference_ssim

    recipe = images.recipe
    ssim, size = recipe.scoring.ssim, reduced_size(recipe)
    chosen = scores.select("image_id", "ssim").drop_nulls().bottom_k(_MEASURED_AGAIN, by="image_id")
    stored = images.scan().filter(pl.col("image_id").is_in(chosen["image_id"].implode()))
    pixels = {name: image["bytes"] for name, image in stored.select("image_id", "image").collect().iter_rows()}
    return tuple(
        name
        for name, recorded in chosen.sort("image_id").iter_rows()
        if name in pixels
        and abs(
            recorded - reference_ssim(decode_image(pixels[name]), size=size, channels=ssim.channels, window=ssim.window)
        )
        > _SSIM_TOLERANCE
    )


def _in_range(column: str) -> pl.Expr:
    low, high = _RANGES[column]
    return pl.col(column).is_finite() & pl.col(column).is_between(low - _TOLERANCE, high + _TOLERANCE)
