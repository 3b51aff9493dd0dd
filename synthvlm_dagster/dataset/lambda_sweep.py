"""What the selection would be at other weights of SSIM: no image is touched, and the recipe stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from synthvlm_dagster.dataset.pool import best_merits, require_columns
from synthvlm_dagster.dataset.selection import selected_count
from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.merit import standard_deviations, standardised

SSIM_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)


def lambda_sweep(
    scores: pl.LazyFrame,
    selection: Selection,
    weights: Sequence[float] = SSIM_WEIGHTS,
    judges: Sequence[str] = (),
) -> pl.DataFrame:
    """The best attempt of each caption, and of those the best overall, at one λ after another.

    The score is that of the strategy `paper`, or of `zscore` when the selection has it; what `audited` sets aside is
    not set aside here. Pairs of equal score are ordered by image_id, as in `select_pairs`.

    Args:
        scores: one row per measured image, with image_id, caption_id, clip_score, ssim and the judges' columns.
        selection: count or share; its own λ is added to `weights` where they lack it.
        weights: the values of λ, none below 0.
        judges: columns of held-out scores. Their means leave out what is missing or NaN.

    Returns:
        One row per λ, ascending: ssim_weight, then the means over the selected set of clip_score, ssim and each judge
        (null where it measured none of them), then overlap: the Jaccard index of the set with the one at the
        selection's own λ, in [0, 1]. All Float64.

    Raises:
        SelectionError: as `select_pairs`; or a judge has no column; or a weight is negative, NaN or infinite.
    """
    if any(not 0 <= weight < float("inf") for weight in weights):
        raise SelectionError(f"the weights of SSIM must be finite numbers of at least 0, not {list(weights)}")
    require_columns(scores, judges)
    count = selected_count(selection, best_merits(scores, pl.col("clip_score")).height)
    pool = scores.select("image_id", "caption_id", "clip_score", "ssim", *judges).sort("image_id").collect()
    measures = {name: pool[name].cast(pl.Float64) for name in ("clip_score", "ssim", *judges)}
    clip, ssim = (measures[name].to_numpy() for name in ("clip_score", "ssim"))
    caption = pool["caption_id"].rank("dense").to_numpy()
    # Within a caption in the order of image_id: the first of its best is the one that counts.
    by_caption = np.argsort(caption, kind="stable")
    first_of_caption = np.flatnonzero(np.diff(caption[by_caption], prepend=0))
    # Deviations of 1 leave the terms as they are, to the last bit.
    deviations = standard_deviations(pool.lazy()) if selection.strategy == "zscore" else (1.0, 1.0)

    def selected_at(weight: float) -> np.ndarray:
        terms = standardised(deviations, weight)
        merit = (terms.clip_score * clip + terms.ssim * ssim)[by_caption]
        best = np.repeat(
            np.maximum.reduceat(merit, first_of_caption), np.diff(first_of_caption, append=len(by_caption))
        )
        is_best = np.flatnonzero(merit == best)
        _, first = np.unique(caption[by_caption[is_best]], return_index=True)
        winners = is_best[first]
        order = np.lexsort((by_caption[winners], -merit[winners]))
        return np.sort(by_caption[winners[order[:count]]])

    own = selected_at(selection.ssim_weight)
    rows = []
    for weight in sorted({float(weight) for weight in (*weights, selection.ssim_weight)}):
        chosen = selected_at(weight)
        shared = len(np.intersect1d(own, chosen, assume_unique=True))
        means = {name: values.gather(chosen).drop_nans().mean() for name, values in measures.items()}
        rows.append({"ssim_weight": weight, **means, "overlap": shared / (2 * count - shared)})
    names = ("ssim_weight", *measures, "overlap")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64))
