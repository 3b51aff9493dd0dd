"""Which words of the curated captions the selection has more and less of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from synthvlm_dagster.captions.tables import CURATED
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.store.storage import Storage

_WORD = r"\p{L}[\p{L}\p{M}'’-]+"
_STOP_WORDS = frozenset((Path(__file__).parent / "stop_words.txt").read_text(encoding="utf-8").split())
_SHOWN = 12
_FEWEST_EXPECTED = 3.0
_BEYOND_CHANCE = 2.0


@dataclass(frozen=True)
class Concept:
    """One word.

    Attributes:
        word: in lower case.
        curated: curated captions with it.
        selected: selected captions with it.
        expected: selected captions that would have it, were they drawn at random.
        ratio: selected / expected.
        z: difference of the two in standard deviations of such a draw.
    """

    word: str
    curated: int
    selected: int
    expected: float
    ratio: float
    z: float


@dataclass(frozen=True)
class Coverage:
    """How the words of the selected captions differ from those of the curated ones.

    Attributes:
        curated: number of curated captions.
        selected: number of selected captions.
        words: different words of the curated captions that a random selection would have at least three times.
        present: how many of them the selection has.
        more: words that it has more of than chance would give, the surest first.
        less: words that it has less of, the surest first.
    """

    curated: int
    selected: int
    words: int
    present: int
    more: tuple[Concept, ...]
    less: tuple[Concept, ...]

    @property
    def largest_ratio(self) -> float:
        """The largest ratio among the words listed; at least 2."""
        return max([2.0, *(concept.ratio for concept in self.more)])


def gather_coverage(storage: Storage) -> Coverage | None:
    """Compare the words of the selected captions with those of the curated ones; None when one of them is empty.

    A word counts once for a caption. Words of English grammar are left out. What is listed differs from a random
    choice of as many captions by more than two standard deviations (hypergeometric distribution).

    Raises:
        StorageError: a table is missing.
    """
    curated, selected = _counts(storage.scan(CURATED)), _counts(storage.scan(SELECTED))
    pool, chosen = (int(storage.scan(table).select(pl.len()).collect().item()) for table in (CURATED, SELECTED))
    if not pool or not chosen:
        return None
    share = pl.col("curated") / pool
    variance = chosen * share * (1 - share) * (pool - chosen) / max(pool - 1, 1)
    words = (
        curated.rename({"captions": "curated"})
        .join(selected.rename({"captions": "selected"}), on="word", how="left")
        .with_columns(pl.col("selected").fill_null(0), expected=chosen * share)
        .filter(pl.col("expected") >= _FEWEST_EXPECTED)
        .with_columns(
            ratio=pl.col("selected") / pl.col("expected"),
            z=pl.when(variance > 0).then((pl.col("selected") - pl.col("expected")) / variance.sqrt()).otherwise(0.0),
        )
    )
    more = words.filter(pl.col("z") > _BEYOND_CHANCE).sort("z", "word", descending=[True, False]).head(_SHOWN)
    less = words.filter(pl.col("z") < -_BEYOND_CHANCE).sort("z", "word").head(_SHOWN)
    return Coverage(
        curated=pool,
        selected=chosen,
        words=words.height,
        present=words.filter(pl.col("selected") > 0).height,
        more=_concepts(more),
        less=_concepts(less),
    )


def _counts(captions: pl.LazyFrame) -> pl.DataFrame:
    """Captions per word: word, captions (Int64)."""
    words = pl.col("text").str.to_lowercase().str.extract_all(_WORD).list.unique()
    return (
        captions.select(word=words)
        .explode("word")
        .filter(pl.col("word").is_not_null() & ~pl.col("word").is_in(list(_STOP_WORDS)))
        .group_by("word")
        .agg(captions=pl.len().cast(pl.Int64))
        .collect(engine="streaming")
    )


def _concepts(words: pl.DataFrame) -> tuple[Concept, ...]:
    return tuple(
        Concept(**row)
        for row in words.select("word", "curated", "selected", "expected", "ratio", "z").iter_rows(named=True)
    )
