"""What the selection would be at other weights of SSIM: no image is touched, and the recipe stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from synthvlm_dagster.dataset.best_attempts import MERIT, best_attempts
from synthvlm_dagster.dataset.selection import selected_count
from synthvlm_dagster.dataset.strategies import strategy_of
from synthvlm_dagster.dataset.usable_scores import highest_merits, require_columns
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
    count = selected_count(selection, highest_merits(scores, pl.col("clip_score")).height)
    scored = scores.select("image_id", "caption_id", "clip_score", "ssim", *judges).sort("image_id").collect()
    measures = {name: scored[name].cast(pl.Float64) for name in ("clip_score", "ssim", *judges)}
    # Numbers are compared faster than texts, and those of the rows are in the order of their image_ids.
    images = pl.select(
        image_id=pl.int_range(scored.height, dtype=pl.UInt32),
        caption_id=scored["caption_id"].rank("dense"),
        clip_score=measures["clip_score"],
        ssim=measures["ssim"],
    )
    # Deviations of 1 leave the terms as they are, to the last bit.
    deviations = standard_deviations(scored.lazy()) if strategy_of(selection).standardises else (1.0, 1.0)

    def selected_at(weight: float) -> pl.Series:
        terms = standardised(deviations, weight)
        merit = terms.clip_score * pl.col("clip_score") + terms.ssim * pl.col("ssim")
        best = best_attempts(images.lazy().with_columns(merit.alias(MERIT))).collect()
        reaching = best.filter(pl.col(MERIT) >= best[MERIT].top_k(count).min())
        return reaching.sort(MERIT, "image_id", descending=[True, False]).head(count)["image_id"].sort()

    own = selected_at(selection.ssim_weight)
    rows = []
    for weight in sorted({float(weight) for weight in (*weights, selection.ssim_weight)}):
        chosen = selected_at(weight)
        union = pl.concat([own, chosen]).n_unique()
        means = {name: values.gather(chosen).drop_nans().mean() for name, values in measures.items()}
        rows.append({"ssim_weight": weight, **means, "overlap": (2 * count - union) / union})
    names = ("ssim_weight", *measures, "overlap")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64))
