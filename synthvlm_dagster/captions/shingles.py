"""Compiled loops over the shingles of captions: cut them, and compare each caption with the earlier ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthvlm_dagster.compiled import compiled

PLAIN, ARTICLE, TELLING = 0, 1, 2
"""Kinds of words: articles are left out, telling words must be the same ones in the same order."""

# Odd, with well mixed bits: the 64-bit golden ratio, and a constant of MurmurHash3's finalizer.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_OTHER_FACTOR = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
# Stands before the first word and after the last.
_EDGE = np.uint64(0)
_NOTHING = -1


@compiled
def cut_shingles(
    words: NDArray[np.uint64], kinds: NDArray[np.uint8], word_ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64]]:
    """Shingles of each caption: every two words that follow each other, and the first and the last with their edge.

    Args:
        words: hashes of the words of all captions.
        kinds: kind of each word.
        word_ends: where each caption's words end.

    Returns:
        Hashes of all captions' shingles, of each caption ascending and distinct; where each caption's end; a hash of
        each caption's telling words.
    """
    shingles = np.empty(words.size + word_ends.size, np.uint64)
    ends = np.empty(word_ends.size, np.int64)
    telling = np.zeros(word_ends.size, np.uint64)
    begin, filled = 0, 0
    for caption in range(word_ends.size):
        first = filled
        plain = 0
        for place in range(begin, word_ends[caption]):
            plain += kinds[place] != ARTICLE
        before = _EDGE
        for place in range(begin, word_ends[caption]):
            # A caption of nothing but articles keeps them.
            if kinds[place] == ARTICLE and plain:
                continue
            if kinds[place] == TELLING:
                telling[caption] = _mixed(telling[caption] * _FACTOR + words[place])
            shingles[filled] = _mixed(before * _FACTOR + words[place])
            filled += 1
            before = words[place]
        shingles[filled] = _mixed(before * _FACTOR + _EDGE)
        filled += 1
        shingles[first:filled].sort()
        distinct = first
        for place in range(first, filled):
            if distinct == first or shingles[place] != shingles[distinct - 1]:
                shingles[distinct] = shingles[place]
                distinct += 1
        filled = distinct
        ends[caption] = filled
        begin = word_ends[caption]
    return shingles[:filled].copy(), ends, telling


@compiled
def mark_copies(
    shingles: NDArray[np.uint64],
    ends: NDArray[np.int64],
    telling: NDArray[np.uint64],
    signatures: NDArray[np.uint32],
    start: int,
    similarity: float,
    most: int,
    newest: NDArray[np.int32],
    older: NDArray[np.int32],
    asked_by: NDArray[np.int32],
    is_copy: NDArray[np.bool_],
) -> None:
    """Compare the next captions with the kept ones before them that share a band of their signature.

    Captions of other telling words share none.

    Args:
        shingles, ends, telling: of all captions, from `cut_shingles`.
        signatures: MinHash signatures of the next captions, shape (captions, bands · rows).
        start: number of the first of them.
        similarity: least Jaccard similarity of a copy.
        most: how many of the captions that share a band are looked at, the newest first.
        newest: shape (bands, a power of two): the last kept caption in each slot of each band, or -1.
        older: shape (bands, all captions): the kept caption before it in the same slot, or -1.
        asked_by: of each caption, the last one that was compared with it; -1 at first.
        is_copy: of each caption; written into.
    """
    bands = newest.shape[0]
    rows = signatures.shape[1] // bands
    mask = np.uint64(newest.shape[1] - 1)
    slots = np.empty(bands, np.uint64)
    for row in range(signatures.shape[0]):
        caption = start + row
        for band in range(bands):
            key = telling[caption] + np.uint64(band)
            for place in range(band * rows, (band + 1) * rows):
                key = _mixed(key * _FACTOR + np.uint64(signatures[row, place]))
            slots[band] = key & mask
        for band in range(bands):
            other = newest[band, slots[band]]
            left = most
            while other != _NOTHING and left > 0 and not is_copy[caption]:
                if asked_by[other] != caption and telling[other] == telling[caption]:
                    is_copy[caption] = _jaccard(shingles, ends, other, caption) >= similarity
                asked_by[other] = caption
                other = older[band, other]
                left -= 1
        if not is_copy[caption]:
            for band in range(bands):
                older[band, caption] = newest[band, slots[band]]
                newest[band, slots[band]] = caption


@compiled
def _jaccard(shingles: NDArray[np.uint64], ends: NDArray[np.int64], one: int, other: int) -> float:
    place, end = ends[one - 1] if one else 0, ends[one]
    other_place, other_end = ends[other - 1] if other else 0, ends[other]
    total = end - place + other_end - other_place
    shared = 0
    while place < end and other_place < other_end:
        if shingles[place] == shingles[other_place]:
            shared += 1
            place += 1
            other_place += 1
        elif shingles[place] < shingles[other_place]:
            place += 1
        else:
            other_place += 1
    return shared / (total - shared)


@compiled
def _mixed(number: np.uint64) -> np.uint64:
    number = (number ^ (number >> _HALF)) * _OTHER_FACTOR
    return number ^ (number >> _HALF)
