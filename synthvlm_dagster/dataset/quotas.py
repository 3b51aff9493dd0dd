"""Bounds on how many of the selected pairs each concept gets, so that rare concepts survive."""

from __future__ import annotations

import numpy as np


def within_quotas(concepts: np.ndarray, count: int, at_least: float, at_most: float) -> np.ndarray:
    """Choose `count` candidates, best first, with a floor and a ceiling for each concept.

    A concept with n_c of the n candidates has the fair part f = count · n_c / n. Its ceiling is ⌈at_most · f⌉, its
    floor ⌊at_least · f⌋, but at least 1 where at_least is above 0. First come the best of each concept up to its floor
    (the best of all of these, should they be more than count), then the best of the others whose concept is below its
    ceiling. As at_most ≥ 1, there are always enough.

    Args:
        concepts: int, shape (n,), each candidate's concept, the best candidate first.
        count: how many to choose, at most n.
        at_least: in [0, 1].
        at_most: at least 1.

    Returns:
        bool, shape (n,).
    """
    candidates = len(concepts)
    sizes = np.bincount(concepts)
    fair = count * sizes / candidates
    ceiling = np.ceil(at_most * fair).astype(np.int64)
    floor = np.maximum(np.floor(at_least * fair).astype(np.int64), 1 if at_least > 0 else 0)
    by_concept = np.argsort(concepts, kind="stable")
    place = np.empty(candidates, dtype=np.int64)
    place[by_concept] = np.arange(candidates) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    promised = place < floor[concepts]
    open_to = np.flatnonzero(promised | (place < ceiling[concepts]))
    chosen = np.zeros(candidates, dtype=bool)
    chosen[open_to[np.argsort(~promised[open_to], kind="stable")][:count]] = True
    return chosen
