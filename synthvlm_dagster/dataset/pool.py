"""What must hold of the scored images before any are selected."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from synthvlm_dagster.errors import SelectionError

_ALWAYS = ("image_id", "caption_id", "attempt", "shard", "text", "clip_score", "ssim")


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


def checked_number_of_captions(scores: pl.LazyFrame) -> int:
    """How many captions have scored images, of scores that can be selected from; reads them once.

    Args:
        scores: one row per measured image, with image_id, caption_id, clip_score and ssim.

    Raises:
        SelectionError: there are no rows; a score is missing, NaN or infinite; or an image_id stands twice.
    """
    usable = pl.all_horizontal(pl.col("clip_score", "ssim").is_finite().fill_null(False))
    facts = scores.select(
        rows=pl.len(),
        images=pl.col("image_id").n_unique(),
        captions=pl.col("caption_id").n_unique(),
        unusable=(~usable).sum(),
    ).collect(engine="streaming")
    rows, images, captions, unusable = facts.row(0)
    if rows == 0:
        raise SelectionError("there are no scored images to select from. Materialize image_scores first")
    if unusable:
        examples = scores.filter(~usable).select("image_id").head(3).collect()["image_id"].to_list()
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
    return captions
