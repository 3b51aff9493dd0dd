"""The selection, against a naive rewrite in plain Python, and the pools it must refuse."""

import hashlib
import statistics
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS, select_pairs, selected_count
from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.merit import standard_deviations

STRATEGIES = ["paper", "zscore", "clip-only", "ssim-only", "random"]


def pool(rows: list[tuple[int, int, float, float]]) -> pl.DataFrame:
    """Score rows of (caption number, attempt, clip_score, ssim)."""
    return pl.DataFrame(
        {
            "image_id": [f"{caption:016x}-{attempt:02d}" for caption, attempt, _, _ in rows],
            "caption_id": [f"{caption:016x}" for caption, _, _, _ in rows],
            "attempt": [attempt for _, attempt, _, _ in rows],
            "shard": ["0000"] * len(rows),
            "text": [f"caption {caption}" for caption, _, _, _ in rows],
            "clip_score": [clip for _, _, clip, _ in rows],
            "ssim": [ssim for _, _, _, ssim in rows],
        },
        schema_overrides={
            "image_id": pl.String,
            "caption_id": pl.String,
            "attempt": pl.Int32,
            "shard": pl.String,
            "text": pl.String,
            "clip_score": pl.Float64,
            "ssim": pl.Float64,
        },
    )


def naive_selection(scores: pl.DataFrame, selection: Selection, seed: int) -> list[dict[str, Any]]:
    def merit(row: dict[str, Any]) -> float:
        if selection.strategy == "random":
            key = seed.to_bytes(8, "big")
            return int.from_bytes(hashlib.blake2b(row["image_id"].encode(), digest_size=8, key=key).digest(), "big")
        if selection.strategy == "clip-only":
            return row["clip_score"]
        if selection.strategy == "ssim-only":
            return row["ssim"]
        if selection.strategy == "zscore":
            return sum(
                weight / deviation[name] * row[name] if deviation[name] else 0.0
                for name, weight in (("clip_score", 1), ("ssim", selection.ssim_weight))
            )
        return row["clip_score"] + selection.ssim_weight * row["ssim"]

    deviation = dict(zip(("clip_score", "ssim"), standard_deviations(scores.lazy()), strict=True))
    best: dict[str, dict[str, Any]] = {}
    ordered = sorted(scores.to_dicts(), key=lambda row: (-merit(row), row["image_id"]))
    for row in ordered:
        best.setdefault(row["caption_id"], row)
    kept = list(best.values())[: selected_count(selection, len(best))]
    return [
        {**row, "weighted_score": row["clip_score"] + selection.ssim_weight * row["ssim"], "rank": rank}
        for rank, row in enumerate(kept, start=1)
    ]


# Few distinct values, so that ties are frequent; both zeros among them.
clip_values = st.one_of(st.sampled_from([-0.0, 0.0, 0.25, 0.3]), st.floats(0, 1))
ssim_values = st.one_of(st.sampled_from([-0.0, 0.0, 0.5, 0.9]), st.floats(-1, 1))
pools = st.dictionaries(
    st.tuples(st.integers(0, 12), st.integers(0, 4)), st.tuples(clip_values, ssim_values), min_size=1, max_size=40
).map(lambda scored: pool([(*image, *scores) for image, scores in scored.items()]))


@settings(max_examples=150, deadline=None)
@given(pools, st.sampled_from(STRATEGIES), st.floats(0, 2), st.floats(0.01, 1), st.integers(0, 2**63 - 1), st.randoms())
def test_equals_the_naive_rewrite_whatever_the_order(
    scores: pl.DataFrame, strategy: str, ssim_weight: float, share: float, seed: int, order: Any
) -> None:
    selection = Selection(strategy=strategy, ssim_weight=ssim_weight, share=share)
    expected = naive_selection(scores, selection, seed)
    shuffled = scores[order.sample(range(scores.height), scores.height)]
    for frame in (scores, shuffled):
        for engine in ("in-memory", "streaming"):
            assert select_pairs(frame.lazy(), selection, seed).collect(engine=engine).to_dicts() == expected


@settings(max_examples=50, deadline=None)
@given(pools, st.data())
def test_a_count_keeps_exactly_so_many_captions_once(scores: pl.DataFrame, data: st.DataObject) -> None:
    captions = scores["caption_id"].n_unique()
    count = data.draw(st.integers(1, captions))
    selected = select_pairs(scores.lazy(), Selection(count=count)).collect()
    assert selected["rank"].to_list() == list(range(1, count + 1))
    assert selected["caption_id"].n_unique() == selected["image_id"].n_unique() == count
    assert selected["weighted_score"].is_sorted(descending=True)


def test_columns_and_types() -> None:
    selected = select_pairs(pool([(1, 0, 0.3, 0.8)]).lazy(), Selection(count=1)).collect()
    assert selected.columns == list(SELECTED_COLUMNS)
    assert selected.schema["rank"] == pl.Int64
    assert selected.schema["weighted_score"] == pl.Float64
    assert selected["weighted_score"].item() == 0.3 + 0.5 * 0.8


def test_ablations_keep_the_papers_score_beside_their_own_order() -> None:
    scores = pool([(1, 0, 0.30, 0.1), (2, 0, 0.29, 0.9)])
    assert select_pairs(scores.lazy(), Selection(count=1)).collect()["text"].item() == "caption 2"
    clip_only = select_pairs(scores.lazy(), Selection(strategy="clip-only", count=1)).collect()
    assert clip_only["text"].item() == "caption 1"
    assert clip_only["weighted_score"].item() == 0.30 + 0.5 * 0.1


def test_another_seed_draws_another_random_selection() -> None:
    scores = pool([(caption, attempt, 0.3, 0.8) for caption in range(50) for attempt in range(3)]).lazy()
    selection = Selection(strategy="random", share=0.2)
    first, again, other = (select_pairs(scores, selection, seed).collect()["image_id"].to_list() for seed in (1, 1, 2))
    assert first == again
    assert set(first) != set(other)


@pytest.mark.parametrize(
    ("share", "captions", "count"),
    [(0.2, 10, 2), (0.29, 100, 29), (0.25, 10, 3), (0.25, 9, 2), (0.01, 3, 1), (1.0, 7, 7)],
)
def test_a_share_is_rounded_half_up_and_never_to_nothing(share: float, captions: int, count: int) -> None:
    assert selected_count(Selection(share=share), captions) == count


def test_refuses_more_pairs_than_captions() -> None:
    scores = pool([(1, 0, 0.3, 0.8), (1, 1, 0.4, 0.8), (2, 0, 0.3, 0.8)])
    with pytest.raises(SelectionError, match=r"count is 3, but only 2 captions.*Lower selection\.count"):
        select_pairs(scores.lazy(), Selection(count=3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
@pytest.mark.parametrize("column", ["clip_score", "ssim"])
def test_refuses_scores_that_are_no_numbers(bad: float | None, column: str) -> None:
    scores = pool([(1, 0, 0.3, 0.8), (2, 0, 0.3, 0.8)])
    scores = scores.with_columns(pl.Series(column, [0.5, bad], dtype=pl.Float64))
    with pytest.raises(SelectionError, match=r"1 of 2 scored images.*0000000000000002-00"):
        select_pairs(scores.lazy(), Selection(count=1))


def test_refuses_an_image_scored_twice() -> None:
    scores = pool([(1, 0, 0.3, 0.8), (2, 0, 0.3, 0.8), (1, 0, 0.3, 0.8)])
    with pytest.raises(SelectionError, match=r"1 of 3 score rows repeat.*0000000000000001-00"):
        select_pairs(scores.lazy(), Selection(count=1))


@pytest.mark.parametrize("selection", [Selection(count=1), Selection(share=0.5)])
def test_refuses_an_empty_pool(selection: Selection) -> None:
    with pytest.raises(SelectionError, match="no scored images"):
        select_pairs(pool([]).lazy(), selection)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_recipe_refuses_a_lambda_that_means_nothing(weight: float) -> None:
    with pytest.raises(ValidationError, match="ssim_weight"):
        Selection(count=1, ssim_weight=weight)


def test_more_attempts_than_bits_are_told_from_an_image_scored_twice() -> None:
    """Attempts 0 and 64 share a bit of the quick look; the thorough one clears them."""
    scores = pool([(1, 0, 0.3, 0.8), (1, 64, 0.4, 0.8), (1, 99, 0.2, 0.8)])
    assert select_pairs(scores.lazy(), Selection(count=1)).collect()["attempt"].item() == 64
    with pytest.raises(SelectionError, match=r"1 of 4 score rows repeat.*0000000000000001-64"):
        select_pairs(pl.concat([scores, scores[1]]).lazy(), Selection(count=1))


@settings(max_examples=50, deadline=None)
@given(pools, st.randoms())
def test_standard_deviations_are_those_of_the_population_in_any_order(scores: pl.DataFrame, order: Any) -> None:
    found = standard_deviations(scores.lazy())
    assert found == pytest.approx([statistics.pstdev(scores[name]) for name in ("clip_score", "ssim")], abs=1e-8)
    shuffled = scores[order.sample(range(scores.height), scores.height)]
    assert standard_deviations(shuffled.lazy()) == found


def test_zscore_weighs_both_terms_by_their_spread() -> None:
    # SSIM spreads ten times as far: raw, it decides alone; standardised, CLIPScore has its say.
    scores = pool([(1, 0, 0.34, 0.70), (2, 0, 0.30, 0.80), (3, 0, 0.30, 0.30), (4, 0, 0.26, 0.60)])
    best = {
        strategy: select_pairs(scores.lazy(), Selection(strategy=strategy, count=1)).collect()["text"].item()
        for strategy in ("paper", "zscore")
    }
    assert best == {"paper": "caption 2", "zscore": "caption 1"}
