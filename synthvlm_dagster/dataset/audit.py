"""What the strategy `audited` sets aside before the best pairs are taken, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl

from synthvlm_dagster.dataset.best_attempts import MERIT, best_attempts
from synthvlm_dagster.dataset.clusters import cluster
from synthvlm_dagster.dataset.quotas import within_quotas
from synthvlm_dagster.dataset.semantic_duplicates import semantic_duplicates
from synthvlm_dagster.dataset.strategies import merit
from synthvlm_dagster.dataset.usable_scores import require_columns, share_of
from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Disagreement, Selection

Embeddings: TypeAlias = Iterable[tuple[pl.Series, np.ndarray]]
"""Parts of image_ids (String) with their CLIP image embeddings (float32, shape (n, d), rows of length 1)."""

REASONS = {
    "disagreement": "CLIP and the held-out judge rank the image too differently.",
    "near_duplicate": "A better-scored image shows the same.",
    "quota": "Its score would have sufficed, but its concept had its part, or another concept was promised the place.",
}
WHY_SCHEMA = pl.Schema(
    {
        "image_id": pl.String,
        "reason": pl.String,
        "difference": pl.Float64,
        "duplicate_of": pl.String,
        "concept": pl.Int64,
    }
)


class Audited(NamedTuple):
    """What an audit kept and what it set aside."""

    ranking: pl.DataFrame
    """image_id and rank (Int64, from 1) of the pairs that are kept."""
    set_aside: pl.DataFrame
    """With `WHY_SCHEMA`: one row per image and the reason, one of `REASONS`, that set it aside."""


def audit(
    scores: pl.LazyFrame, selection: Selection, count: int, seed: int = 0, embeddings: Embeddings | None = None
) -> Audited:
    """The best `count` pairs by the paper's score, less what the parts of `selection.audit` set aside, in this order.

    1. `disagreement`: images, before attempts compete; a caption whose best image is set aside gives its next.
    2. `near_duplicates`: of the captions' best images that are left, those that repeat a better one.
    3. `quotas`: what is left are the candidates, of which `count` are chosen within each concept's bounds.

    Args:
        scores: as for `select_pairs`, already checked, and with the judge's column.
        selection: its audit says which parts.
        count: pairs to keep.
        seed: of the clusters.
        embeddings: of all images of `scores` at least; read once, if a part needs them. Those of one image per caption
            are held in memory: 2 KB each for 512 dimensions.

    Raises:
        SelectionError: the judge has no column, or has not measured every image; embeddings are needed and not given,
            or lack an image; or fewer than `count` captions are left.
    """
    parts = selection.audit
    judges = [parts.disagreement.judge] if parts.disagreement else []
    require_columns(scores, judges)
    images = scores.select("image_id", "caption_id", "clip_score", *judges, merit(scores, selection).alias(MERIT))
    scored = images.collect(engine="streaming")
    captions = scored["caption_id"].n_unique()
    reasons = [pl.DataFrame(schema=WHY_SCHEMA)]
    if parts.disagreement:
        far = _disagreeing(scored, parts.disagreement)
        reasons.append(_why(far, "disagreement"))
        scored = scored.join(far, on="image_id", how="anti")
    candidates = (
        best_attempts(scored.lazy().select("image_id", "caption_id", MERIT))
        .sort(MERIT, "image_id", descending=[True, False])
        .collect()
    )
    rows = np.empty((0, 0), dtype=np.float32)
    if parts.needs_embeddings:
        rows = _rows_of(candidates["image_id"], embeddings)
    if parts.near_duplicates:
        near = parts.near_duplicates
        groups = cluster(rows, -(-len(rows) // near.cluster_size), seed)
        repeats = semantic_duplicates(rows, groups, near.similarity)
        kept = repeats < 0
        repeated = candidates["image_id"].filter(~kept), candidates["image_id"].gather(repeats[~kept])
        reasons.append(_why(pl.DataFrame(repeated, schema=["image_id", "duplicate_of"]), "near_duplicate"))
        candidates, rows = candidates.filter(kept), rows[kept]
    if candidates.height < count:
        raise SelectionError(_too_few(candidates.height, captions, count, pl.concat(reasons)))
    chosen = np.arange(candidates.height) < count
    if parts.quotas:
        concepts = cluster(rows, parts.quotas.concepts, seed)
        by_score = chosen
        chosen = within_quotas(concepts, count, parts.quotas.at_least, parts.quotas.at_most)
        displaced = candidates.select("image_id", concept=pl.Series(concepts)).filter(by_score & ~chosen)
        reasons.append(_why(displaced, "quota"))
    ranking = candidates.filter(chosen).select("image_id", rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    return Audited(ranking, pl.concat(reasons))


def _disagreeing(scored: pl.DataFrame, rule: Disagreement) -> pl.DataFrame:
    """image_id and difference of the images that are set aside, the largest difference first.

    A place is (rank - 1) / (n - 1) among all n images, equal scores sharing the mean of their ranks. A share of the
    images is rounded to the nearest whole number, halves up.
    """
    measured = pl.col(rule.judge).is_finite().fill_null(False)
    lacking = scored.filter(~measured)["image_id"]
    if len(lacking):
        raise SelectionError(
            f"{len(lacking)} of {scored.height} scored images have no {rule.judge} ({', '.join(lacking.sort().head(3))}"
            f"{', …' if len(lacking) > 3 else ''}). Materialize image_scores again with the judge in the recipe"
        )
    places = [(pl.col(name).rank("average") - 1) / max(scored.height - 1, 1) for name in ("clip_score", rule.judge)]
    # Rounded, so that equal distances are equal.
    differences = scored.select("image_id", difference=(places[0] - places[1]).abs().round(12)).sort(
        "difference", "image_id", descending=[True, False]
    )
    if rule.max_difference is not None:
        return differences.filter(pl.col("difference") > rule.max_difference)
    assert rule.share is not None
    return differences.head(share_of(rule.share, scored.height))


def _rows_of(image_ids: pl.Series, embeddings: Embeddings | None) -> np.ndarray:
    """The embeddings of the given images, in their order."""
    if embeddings is None:
        raise SelectionError(
            "selection.audit compares images by their CLIP embeddings, and none are given. Pass `embeddings`, or leave "
            "near_duplicates and quotas out"
        )
    wanted = pl.DataFrame({"image_id": image_ids}).with_row_index("place")
    rows: np.ndarray | None = None
    found = np.zeros(len(image_ids), dtype=bool)
    for ids, part in embeddings:
        if ids.is_empty():
            continue
        here = pl.DataFrame({"image_id": ids}).with_row_index("row").join(wanted, on="image_id")
        if rows is None:
            rows = np.zeros((len(image_ids), part.shape[1]), dtype=np.float32)
        places = here["place"].to_numpy()
        rows[places] = part[here["row"].to_numpy()]
        found[places] = True
    if rows is None or not found.all():
        lacking = image_ids.filter(~found)
        raise SelectionError(
            f"{len(lacking)} of {len(found)} images have no CLIP embedding ({', '.join(lacking.sort().head(3))}"
            f"{', …' if len(lacking) > 3 else ''}). Materialize image_scores again"
        )
    return rows


def _why(images: pl.DataFrame, reason: str) -> pl.DataFrame:
    absent = [name for name in WHY_SCHEMA if name not in images.columns]
    return (
        images.with_columns(pl.lit(None, WHY_SCHEMA[name]).alias(name) for name in absent)
        .with_columns(reason=pl.lit(reason))
        .select(*WHY_SCHEMA)
        .cast(WHY_SCHEMA)
    )


def _too_few(left: int, captions: int, count: int, reasons: pl.DataFrame) -> str:
    counts = dict(reasons.group_by("reason").len().iter_rows())
    listed = ", ".join(f"{counts[reason]} images by {reason}" for reason in REASONS if reason in counts)
    return (
        f"{count} pairs are asked for, but the audit leaves only {left} of {captions} captions; set aside were "
        f"{listed or 'none'}. Loosen selection.audit, or lower selection.count or selection.share"
    )
