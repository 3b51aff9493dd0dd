"""What must hold of the scores that pairs are selected from."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

import polars as pl

from synthvlm_dagster.dataset.best_attempts import MERIT
from synthvlm_dagster.errors import SelectionError

_ALWAYS = ("image_id", "caption_id", "attempt", "shard", "text", "clip_score", "ssim")
_USABLE = pl.all_horizontal(pl.col("clip_score", "ssim").is_finite().fill_null(False))


def share_of(share: float, total: int) -> int:
    """How many of `total` a share of them is: to the nearest whole number, halves up.

    The share is taken as it is written in a recipe: of 100, 0.29 are 29, though the binary number nearest to 0.29 is
    smaller.
    """
    return int((Decimal(str(share)) * total).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def highest_merits(scores: pl.LazyFrame, merit: pl.Expr) -> pl.DataFrame:
    """The highest merit among each caption's images, of scores that can be selected from.

    Args:
        scores: one row per measured image, with image_id, caption_id, attempt, clip_score and ssim. Read once, streamed
            and by caption alone; once more where something seems to be wrong.
        merit: what images are compared by.

    Returns:
        One row per caption, in no particular order: caption_id and `MERIT`.

    Raises:
        SelectionError: there are no rows; a score is missing, NaN or infinite; or an image_id stands twice.
    """
    # One bit for each attempt: a sum of powers of two has as many bits as there are rows only where all of them have a
    # usable score and are different.
    bit = pl.lit(2, pl.UInt64).pow(pl.col("attempt").cast(pl.UInt32) % 64)
    best = (
        scores.select("caption_id", merit.alias(MERIT), _bit=pl.when(_USABLE).then(bit).otherwise(0))
        .group_by("caption_id")
        .agg(pl.col(MERIT).max(), pl.len().alias("_rows"), pl.col("_bit").sum())
        .collect(engine="streaming")
    )
    if best.is_empty():
        raise SelectionError("there are no scored images to select from. Materialize image_scores first")
    if best.select((pl.col("_bit").bitwise_count_ones() != pl.col("_rows")).any()).item():
        _refuse_unusable(scores)
    return best.select("caption_id", MERIT)


def require_columns(scores: pl.LazyFrame, judges: Sequence[str]) -> None:
    """Refuse held-out judges that measured nothing.

    Raises:
        SelectionError: a judge has no column in `scores`; names those there are.
    """
    columns = scores.collect_schema().names()
    for judge in judges:
        if judge not in columns:
            held_out = ", ".join(name for name in columns if name not in _ALWAYS)
            raise SelectionError(
                f"the scores have no column {judge!r}; "
                + (f"held-out judges measured {held_out}" if held_out else "no held-out judge measured these images")
            )


def _refuse_unusable(scores: pl.LazyFrame) -> None:
    rows, images, unusable = (
        scores.select(rows=pl.len(), images=pl.col("image_id").n_unique(), unusable=(~_USABLE).sum())
        .collect(engine="streaming")
        .row(0)
    )
    if unusable:
        examples = scores.filter(~_USABLE).select("image_id").head(3).collect()["image_id"].to_list()
        raise SelectionError(
            f"{unusable} of {rows} scored images have a clip_score or ssim that is missing, NaN or infinite "
            f"({', '.join(examples)}{', …' if unusable > len(examples) else ''}). Delete their scores and materialize "
            "image_scores again; if it happens again, use scoring.clip.dtype float32"
        )
    if images < rows:
        repeated = scores.group_by("image_id").len().filter(pl.col("len") > 1).sort("image_id").head(3).collect()
        raise SelectionError(
            f"{rows - images} of {rows} score rows repeat an image_id ({', '.join(repeated['image_id'])}). "
            "Every image must be scored once; remove the repeated rows"
        )
