"""Spherical k-means: groups of embeddings that point the same way."""

from __future__ import annotations

import numpy as np

_ITERATIONS = 20
_SAMPLE_PER_CLUSTER = 256
_BLOCK = 16_384


def cluster(embeddings: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Assign each embedding to the centre with the largest cosine.

    Centres start as k-means++ draws them (Arthur and Vassilvitskii, 2007) and move 20 times; they are learned from a
    seeded sample of at most 256 embeddings a cluster. The same rows in the same order give the same clusters.

    Args:
        embeddings: float32, shape (n, d), rows of length 1.
        clusters: number of centres; as many as embeddings where these are fewer.
        seed: of the sample and the first centres.

    Returns:
        int64, shape (n,), in [0, clusters).
    """
    clusters = min(clusters, len(embeddings))
    if clusters <= 1:
        return np.zeros(len(embeddings), dtype=np.int64)
    random = np.random.default_rng(seed)
    size = min(len(embeddings), _SAMPLE_PER_CLUSTER * clusters)
    sample = embeddings[np.sort(random.choice(len(embeddings), size, replace=False))]
    centres = _first_centres(sample, clusters, random)
    for _ in range(_ITERATIONS):
        sums = np.zeros_like(centres)
        np.add.at(sums, _nearest(sample, centres), sample)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        # A centre that nothing is nearest to stays where it is.
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
    return _nearest(embeddings, centres)


def _first_centres(sample: np.ndarray, clusters: int, random: np.random.Generator) -> np.ndarray:
    chosen = [int(random.integers(len(sample)))]
    distance = np.ones(len(sample))
    for _ in range(clusters - 1):
        distance = np.minimum(distance, np.maximum(1 - sample @ sample[chosen[-1]], 0))
        total = distance.sum()
        weights = distance / total if total > 0 else np.full(len(sample), 1 / len(sample))
        chosen.append(int(random.choice(len(sample), p=weights)))
    return sample[chosen].copy()


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    blocks = [(rows[start : start + _BLOCK] @ centres.T).argmax(axis=1) for start in range(0, len(rows), _BLOCK)]
    return np.concatenate(blocks)
