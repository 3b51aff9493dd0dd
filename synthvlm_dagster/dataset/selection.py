"""Which pairs are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3)."""

from __future__ import annotations

import hashlib
from decimal import ROUND_HALF_UP, Decimal

import polars as pl

from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Selection

SELECTED_COLUMNS = {
    "image_id": "Identity of the image: caption_id and attempt.",
    "caption_id": "Identity of the caption; unique in this table.",
    "attempt": "Which of the caption's images this is, from 0.",
    "shard": "Partition that the caption belongs to.",
    "text": "The caption.",
    "clip_score": "Cosine of image and prefixed caption, clipped at 0: in [0, 1].",
    "ssim": "Similarity of the image with itself after the round trip through the small size: in [-1, 1].",
    "weighted_score": "clip_score + ssim_weight · ssim.",
    "rank": "Place in the selection, from 1 for the best.",
}

_MERIT = "_merit"


def weighted_score(ssim_weight: float) -> pl.Expr:
    """CLIPScore + λ·SSIM, the paper's score of a pair, from the columns `clip_score` and `ssim` (Float64)."""
    return (pl.col("clip_score") + ssim_weight * pl.col("ssim")).alias("weighted_score")


def select_pairs(scores: pl.LazyFrame, selection: Selection, seed: int = 0) -> pl.LazyFrame:
    """The best attempt of each caption, and of those the best `count` (or `share`) overall.

    The merit that attempts and captions are compared by is, for each strategy: `paper` CLIPScore + λ·SSIM;
    `clip-only` CLIPScore; `ssim-only` SSIM; `random` a hash of seed and image_id. Equal merits are ordered by image_id,
    so the result does not depend on the order of the rows. A share is a share of the captions in `scores`, rounded to
    the nearest whole number, halves up, and at least 1.

    Args:
        scores: one row per measured image, with image_id, caption_id (String), attempt, shard, text, clip_score and
            ssim (Float64). It is read once to check and count it before this function returns.
        selection: strategy, λ, and count or share.
        seed: of the `random` strategy.

    Returns:
        The selected rows ordered by rank, with the columns of `SELECTED_COLUMNS`; not yet computed.

    Raises:
        SelectionError: there are no rows; a score is missing, NaN or infinite; an image_id stands twice; or count is
            larger than the number of captions.
    """
    captions = _checked_number_of_captions(scores)
    count = selected_count(selection, captions)
    merits = scores.select("image_id", "caption_id", _merit(selection, seed).alias(_MERIT))
    winners = _best_attempts(merits)
    kept = winners.top_k(count, by=[_MERIT, "image_id"], reverse=[False, True])
    ranking = kept.sort(_MERIT, "image_id", descending=[True, False]).select(
        "image_id", pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("rank")
    )
    return (
        scores.join(ranking, on="image_id", how="inner", maintain_order="none")
        .with_columns(weighted_score(selection.ssim_weight))
        .sort("rank")
        .select(*SELECTED_COLUMNS)
    )


def best_attempts(scores: pl.LazyFrame, selection: Selection, seed: int = 0) -> pl.LazyFrame:
    """The rows of `scores` that are the best attempt of their caption, by the selection's strategy.

    Args and order of merit as in `select_pairs`; the rows come in no particular order.
    """
    merits = scores.select("image_id", "caption_id", _merit(selection, seed).alias(_MERIT))
    return scores.join(_best_attempts(merits), on="image_id", how="semi")


def selected_count(selection: Selection, captions: int) -> int:
    """How many pairs the selection keeps of a pool of so many scored captions.

    Raises:
        SelectionError: the selection asks for more pairs than there are captions.
    """
    if selection.share is not None:
        exact = Decimal(str(selection.share)) * captions
        return max(1, int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)))
    assert selection.count is not None
    if selection.count > captions:
        raise SelectionError(
            f"selection.count is {selection.count}, but only {captions} captions have scored images, and each gives "
            "one pair. Lower selection.count, use selection.share, add captions, or raise attempts.max_captions"
        )
    return selection.count


def _best_attempts(merits: pl.LazyFrame) -> pl.LazyFrame:
    best = merits.group_by("caption_id").agg(pl.col(_MERIT).max())
    return (
        merits.join(best, on=["caption_id", _MERIT], how="semi")
        .group_by("caption_id", _MERIT)
        .agg(pl.col("image_id").min())
    )


def _merit(selection: Selection, seed: int) -> pl.Expr:
    match selection.strategy:
        case "paper":
            merit = weighted_score(selection.ssim_weight)
        case "clip-only":
            merit = pl.col("clip_score")
        case "ssim-only":
            merit = pl.col("ssim")
        case "random":
            return pl.col("image_id").map_batches(lambda ids: _hashes(ids, seed), return_dtype=pl.UInt64)
    # -0.0 and 0.0 are equal, but sort and join apart; adding 0.0 makes them one.
    return merit + 0.0


def _hashes(image_ids: pl.Series, seed: int) -> pl.Series:
    key = seed.to_bytes(8, "big")
    digests = (hashlib.blake2b(image_id.encode(), digest_size=8, key=key).digest() for image_id in image_ids)
    return pl.Series([int.from_bytes(digest, "big") for digest in digests], dtype=pl.UInt64)


def _checked_number_of_captions(scores: pl.LazyFrame) -> int:
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
