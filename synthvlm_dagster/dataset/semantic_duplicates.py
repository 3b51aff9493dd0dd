"""Images that show the same thing, told by their embeddings (SemDeDup, arXiv 2303.09540)."""

from __future__ import annotations

import numpy as np

_BLOCK = 1024
_ROUNDING = 1e-6


def semantic_duplicates(embeddings: np.ndarray, clusters: np.ndarray, similarity: float) -> np.ndarray:
    """For each image, the better one of its cluster that it repeats.

    From the best image to the worst: one whose cosine with a better image of its cluster that was kept itself is at
    least `similarity` is a duplicate; the others are kept. (SemDeDup also drops what resembles a dropped image alone,
    and keeps the image farthest from the centre.) Cosines are rounded to 1e-6.

    Args:
        embeddings: float32, shape (n, d), rows of length 1, the best image first.
        clusters: shape (n,); only images with the same number are compared.
        similarity: in (0, 1].

    Returns:
        int64, shape (n,): position of the best kept image that the image repeats; -1 where it is kept.
    """
    repeats = np.full(len(embeddings), -1)
    by_cluster = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[by_cluster], prepend=-1))
    for members in np.split(by_cluster, starts[1:]):
        kept = np.empty(0, dtype=np.int64)
        for start in range(0, len(members), _BLOCK):
            block = members[start : start + _BLOCK]
            same = embeddings[block] @ embeddings[kept].T >= similarity - _ROUNDING
            seen = same.any(axis=1)
            repeats[block[seen]] = kept[same[seen].argmax(axis=1)] if seen.any() else -1
            kept = np.concatenate([kept, _distinct(embeddings, block[~seen], similarity, repeats)])
    return repeats


def _distinct(embeddings: np.ndarray, rows: np.ndarray, similarity: float, repeats: np.ndarray) -> np.ndarray:
    """Those of a few rows that are kept among themselves; writes into `repeats` what the others repeat."""
    same = np.tril(embeddings[rows] @ embeddings[rows].T >= similarity - _ROUNDING, k=-1)
    kept = np.ones(len(rows), dtype=bool)
    for row in np.flatnonzero(same.any(axis=1)):
        earlier = np.flatnonzero(same[row] & kept)
        if len(earlier):
            kept[row] = False
            repeats[rows[row]] = rows[earlier[0]]
    return rows[kept]
