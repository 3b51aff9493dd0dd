"""The sweep over λ, against a selection at each λ by itself."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.dataset.lambda_sweep import SSIM_WEIGHTS, lambda_sweep
from synthvlm_dagster.dataset.selection import select_pairs
from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster_tests.dataset.test_selection import pool, pools

WEIGHTS = (0.0, 0.25, 2.0)


@settings(max_examples=60, deadline=None)
@given(pools, st.sampled_from(["paper", "zscore"]), st.sampled_from([0.0, 0.5, 0.7]), st.floats(0.01, 1))
def test_equals_a_selection_at_each_weight(
    scores: pl.DataFrame, strategy: str, ssim_weight: float, share: float
) -> None:
    judged = scores.with_columns(siglip_score=pl.col("clip_score") ** 2)
    selection = Selection(strategy=strategy, ssim_weight=ssim_weight, share=share)
    own = set(select_pairs(scores.lazy(), selection).collect()["image_id"])
    swept = lambda_sweep(judged.sample(fraction=1, shuffle=True).lazy(), selection, WEIGHTS, ["siglip_score"])
    assert swept.columns == ["ssim_weight", "clip_score", "ssim", "siglip_score", "overlap"]
    assert swept["ssim_weight"].to_list() == sorted({*WEIGHTS, ssim_weight})
    for weight, clip, ssim, judge, overlap in swept.iter_rows():
        at_weight = selection.model_copy(update={"ssim_weight": weight})
        chosen = select_pairs(scores.lazy(), at_weight).collect()
        assert clip == pytest.approx(chosen["clip_score"].mean(), abs=1e-12)
        assert ssim == pytest.approx(chosen["ssim"].mean(), abs=1e-12)
        assert judge == pytest.approx((chosen["clip_score"] ** 2).mean(), abs=1e-12)
        assert overlap == pytest.approx(len(own & set(chosen["image_id"])) / len(own | set(chosen["image_id"])))


def test_more_weight_of_ssim_trades_clip_score_for_it() -> None:
    rows = [(n, 0, 0.2 + 0.001 * (n * 37 % 100), 0.5 + 0.004 * (n * 53 % 100)) for n in range(100)]
    swept = lambda_sweep(pool(rows).lazy(), Selection(share=0.2))
    assert swept["ssim_weight"].to_list() == list(SSIM_WEIGHTS)
    assert swept["ssim"].is_sorted()
    assert swept["clip_score"].is_sorted(descending=True)
    assert swept.filter(pl.col("ssim_weight") == 0.5)["overlap"].item() == 1.0


def test_a_judge_that_measured_only_some_is_averaged_over_those() -> None:
    scores = pool([(1, 0, 0.3, 0.8), (2, 0, 0.3, 0.8), (3, 0, 0.3, 0.8)])
    scores = scores.with_columns(some=pl.Series([0.5, float("nan"), None]), none=pl.lit(None, pl.Float64))
    swept = lambda_sweep(scores.lazy(), Selection(count=3), [0.5], ["some", "none"])
    assert swept.select("some", "none").row(0) == (0.5, None)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_refuses_weights_that_mean_nothing(weight: float) -> None:
    with pytest.raises(SelectionError, match="finite numbers of at least 0"):
        lambda_sweep(pool([(1, 0, 0.3, 0.8)]).lazy(), Selection(count=1), [weight])


def test_refuses_a_judge_without_a_column() -> None:
    scores = pool([(1, 0, 0.3, 0.8)]).lazy()
    with pytest.raises(SelectionError, match="no column 'vqa_score'; no held-out judge measured"):
        lambda_sweep(scores, Selection(count=1), judges=["vqa_score"])
    scores = scores.with_columns(siglip_score=pl.lit(0.1))
    with pytest.raises(SelectionError, match="no column 'vqa_score'; held-out judges measured siglip_score"):
        lambda_sweep(scores, Selection(count=1), judges=["vqa_score"])


@pytest.mark.parametrize(
    ("selection", "message"), [(Selection(count=2), "only 1 captions"), (None, "no scored images")]
)
def test_refuses_what_select_pairs_refuses(selection: Selection | None, message: str) -> None:
    scores = pool([(1, 0, 0.3, 0.8)]) if selection else pool([])
    with pytest.raises(SelectionError, match=message):
        lambda_sweep(scores.lazy(), selection or Selection(share=0.5))
