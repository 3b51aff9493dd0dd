"""Which captions say nearly the same as an earlier one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import polars as pl

from synthvlm_dagster.captions.duplicates import normalized
from synthvlm_dagster.progress import Progress

ARTICLES = ("a", "an", "the")
"""Left out: with and without them a caption shows the same."""

# fmt: off
TELLING_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "dozen",
    "black", "white", "gray", "grey", "red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown",
    "left", "right", "top", "bottom", "above", "below", "over", "under", "behind", "front", "inside", "outside",
    "no", "not", "without",
)
# fmt: on
"""Words that, like every word with a digit, tell two pictures apart however long their captions are."""

# At the similarity asked for, one copy in 200 may share no band with its original; of more similar ones, far fewer.
_MISSED = 0.005
_MOST_BANDS = 16
_MOST_ROWS = 6
# Without a limit the time grows with the square of the captions that share a template.
_MOST_COMPARED = 128
_SEED = 1
_BATCH = 50_000


def near_duplicates(
    batches: Iterable[pl.Series], similarity: float = 0.8, on_progress: Callable[[str], None] = lambda _: None
) -> np.ndarray:
    """Find captions that are nearly the same as an earlier one that is not itself such a copy.

    Two captions are nearly the same when the Jaccard similarity of their shingles reaches `similarity`, and their
    telling words (numbers, colours, places, negations) are the same ones in the same order. Shingles are the pairs of
    neighbouring words of the `normalized` caption, articles left out, and its first and last word each with the edge:
    they know the order of words, and the shortest caption has shingles of its own. So, at 0.8 and articles not counted:

    - Other articles, or none, make a copy at any length.
    - One more word, wherever it stands, makes a copy of 12 words or more, two of 16.
    - One word replaced, or misspelt, makes a copy from 17 words on, two from 33: in a short caption one other word is
      another picture, and no count of words tells a synonym from an opposite.
    - `3 dogs` and `4 dogs` are never the same, nor are captions in which a colour or a side differs or has moved.
    - Languages written without spaces have few shingles a caption: their copies are those with the same phrases.

    Candidates come from MinHash signatures in bands (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive
    Datasets, ch. 3) and are then compared exactly: what is found is certain, and of what is just similar enough one in
    200 is missed. Captions written from one template share most of their bands: in each band only the newest 128 are
    looked at, which bounds the time, and a copy is found by the bands that hold its own words. Results are the same
    however the captions are divided into batches. Each caption takes some 250 bytes of memory until the end: 0.25 GB a
    million.

    Args:
        batches: captions in order, String without nulls.
        similarity: in (0, 1]. Below 0.5 most captions share bands, so that more is missed the more captions there are.
        on_progress: called every few seconds.

    Returns:
        Bool, one for each caption: an earlier caption is nearly the same.
    """
    import rensa

    from synthvlm_dagster.captions.shingles import mark_copies

    shingles, ends, telling = _all_shingles(batches, on_progress)
    rows, bands = _bands(similarity)
    slots = 1 << max(ends.size // 4, 1).bit_length()
    newest = np.full((bands, slots), -1, np.int32)
    older = np.full((bands, ends.size), -1, np.int32)
    asked_by = np.full(ends.size, -1, np.int32)
    is_copy = np.zeros(ends.size, dtype=bool)
    with Progress("captions compared with the earlier ones", on_progress, total=ends.size) as progress:
        for start in range(0, ends.size, _BATCH):
            begins = np.concatenate([ends[start - 1 : start] if start else [0], ends[start : start + _BATCH]])
            signatures = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
                shingles[begins[0] : begins[-1]], (begins - begins[0]).astype(np.uint64), rows * bands, _SEED
            )
            matrix = np.array(signatures.to_rows(), dtype=np.uint32)
            mark_copies(
                shingles, ends, telling, matrix, start, similarity, _MOST_COMPARED, newest, older, asked_by, is_copy
            )
            progress.report(start + matrix.shape[0])
    return is_copy


def _all_shingles(
    batches: Iterable[pl.Series], on_progress: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shingles of all captions, where each caption's end, and a hash of each caption's telling words."""
    with Progress("captions cut into shingles", on_progress) as progress:
        parts: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
        n_shingles = n_captions = 0
        for batch in batches:
            shingles, ends, telling = _shingles(batch)
            for part, values in zip(parts, (shingles, ends + n_shingles, telling), strict=True):
                part.append(values)
            n_shingles += shingles.size
            n_captions += batch.len()
            progress.report(n_captions)
    kinds = (np.uint64, np.int64, np.uint64)
    shingles, ends, telling = (
        np.concatenate([np.empty(0, kind), *part]) for part, kind in zip(parts, kinds, strict=True)
    )
    return shingles, ends, telling


def _shingles(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from synthvlm_dagster.captions.shingles import ARTICLE, PLAIN, TELLING, cut_shingles

    words = normalized(texts).str.split(" ")
    ends = words.list.len().cum_sum().to_numpy().astype(np.int64)
    word = words.explode()
    kinds = pl.select(
        pl.when(word.is_in(ARTICLES))
        .then(pl.lit(ARTICLE, pl.UInt8))
        .when(word.is_in(TELLING_WORDS) | word.str.contains(r"\p{N}"))
        .then(pl.lit(TELLING, pl.UInt8))
        .otherwise(pl.lit(PLAIN, pl.UInt8))
    ).to_series()
    return cut_shingles(word.hash().to_numpy(), kinds.to_numpy(), ends)


def _bands(similarity: float) -> tuple[int, int]:
    """Rows of a band and bands of a signature: the most rows with which bands enough find what is similar."""
    for rows in range(_MOST_ROWS, 0, -1):
        missed_by_one = 1 - similarity**rows
        bands = math.ceil(math.log(_MISSED) / math.log(missed_by_one)) if missed_by_one > 0 else 1
        if bands <= _MOST_BANDS:
            return rows, bands
    return 1, bands
