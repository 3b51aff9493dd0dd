"""Which pairs are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3)."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from synthvlm_dagster.dataset.audit import REASONS, WHY_SCHEMA, Embeddings, audit
from synthvlm_dagster.dataset.best_attempts import MERIT, best_attempts
from synthvlm_dagster.dataset.strategies import merit, strategy_of
from synthvlm_dagster.dataset.usable_scores import highest_merits, share_of
from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.merit import weighted_score

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
SET_ASIDE_COLUMNS = {
    **{name: meaning for name, meaning in SELECTED_COLUMNS.items() if name not in ("caption_id", "rank")},
    "caption_id": "Identity of the caption; another of its images may be selected.",
    "reason": "Part of the audit that set the image aside: " + ", ".join(REASONS) + ".",
    "difference": "disagreement: distance between its places by CLIPScore and by the judge, in [0, 1].",
    "duplicate_of": "near_duplicate: image_id of the better-scored image that shows the same.",
    "concept": "quota: number of its concept.",
}


class Selected(NamedTuple):
    """A selection; neither frame is computed yet."""

    pairs: pl.LazyFrame
    """The selected rows ordered by rank, with the columns of `SELECTED_COLUMNS`."""
    set_aside: pl.LazyFrame
    """What the audit set aside, by reason and image_id, with `SET_ASIDE_COLUMNS`; no rows for other strategies."""


def select_pairs(
    scores: pl.LazyFrame, selection: Selection, seed: int = 0, embeddings: Embeddings | None = None
) -> pl.LazyFrame:
    """The best attempt of each caption, and of those the best `count` (or `share`) overall.

    The merit that attempts and captions are compared by is, for each strategy: `paper` CLIPScore + λ·SSIM;
    `zscore` the same after both terms are standardised over the scored images; `clip-only` CLIPScore; `ssim-only` SSIM;
    `random` a hash of seed and image_id. `audited` has the paper's merit, and leaves out what `audit` sets aside. Equal
    merits are ordered by image_id, so the result does not depend on the order of the rows. A share is a share of the
    captions in `scores`, rounded to the nearest whole number, halves up, and at least 1.

    Args:
        scores: one row per measured image, with image_id, caption_id (String), attempt, shard, text, clip_score and
            ssim (Float64), and the columns of held-out judges. It is read once to check and count it before this
            function returns.
        selection: strategy, λ, count or share, and what is audited.
        seed: of the `random` strategy and of the audit's clusters.
        embeddings: CLIP image embeddings of the scored images, for an audit that compares them.

    Returns:
        The selected rows ordered by rank, with the columns of `SELECTED_COLUMNS`; not yet computed.

    Raises:
        SelectionError: there are no rows; a score is missing, NaN or infinite; an image_id stands twice; count is
            larger than the number of captions; or what `audit` refuses.
    """
    return select_with_reasons(scores, selection, seed, embeddings).pairs


def select_with_reasons(
    scores: pl.LazyFrame, selection: Selection, seed: int = 0, embeddings: Embeddings | None = None
) -> Selected:
    """As `select_pairs`, with what was set aside and why."""
    merits = merit(scores, selection, seed)
    highest = highest_merits(scores, merits)[MERIT]
    count = selected_count(selection, len(highest))
    if strategy_of(selection).audits:
        audited = audit(scores, selection, count, seed, embeddings)
        kept = scores.join(audited.ranking.lazy(), on="image_id")
        set_aside = scores.join(audited.set_aside.lazy(), on="image_id")
    else:
        # All winners reach the merit of the last one, and nothing but their rows, and those of its equals, is read
        # again.
        kept = (
            best_attempts(scores.filter(merits >= highest.top_k(count).min()).with_columns(merits.alias(MERIT)))
            .sort(MERIT, "image_id", descending=[True, False])
            .head(count)
            .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
        )
        set_aside = scores.head(0).join(pl.LazyFrame(schema=WHY_SCHEMA), on="image_id")
    weighted = weighted_score(selection.ssim_weight)
    return Selected(
        kept.with_columns(weighted).sort("rank").select(*SELECTED_COLUMNS),
        set_aside.with_columns(weighted).sort("reason", "image_id").select(*SET_ASIDE_COLUMNS),
    )


def competing_images(scores: pl.LazyFrame, selection: Selection, seed: int = 0) -> pl.LazyFrame:
    """The rows of `scores` that are the best attempt of their caption, by the selection's strategy.

    Args and order of merit as in `select_pairs`; the rows come in no particular order.
    """
    return best_attempts(scores.with_columns(merit(scores, selection, seed).alias(MERIT))).drop(MERIT)


def selected_count(selection: Selection, captions: int) -> int:
    """How many pairs the selection keeps of a pool of so many scored captions.

    Raises:
        SelectionError: the selection asks for more pairs than there are captions.
    """
    if selection.share is not None:
        return max(1, share_of(selection.share, captions))
    assert selection.count is not None
    if selection.count > captions:
        raise SelectionError(
            f"selection.count is {selection.count}, but only {captions} captions have scored images, and each gives "
            "one pair. Lower selection.count, use selection.share, add captions, or raise attempts.max_captions"
        )
    return selection.count
