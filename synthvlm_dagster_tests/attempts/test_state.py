"""The state of a store whose recipe has changed and changed back; names decide images and scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_plan, read_scores, whole_plan
from synthvlm_dagster.attempts.state import State
from synthvlm_dagster.dataset.coverage import complete_scores, score_coverage
from synthvlm_dagster.images.plan import plan_attempts, write_plan
from synthvlm_dagster.images.table import EncodedImage
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.measuring import EMBEDDINGS, SCORES
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster.scores.table import SCORES_SCHEMA
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import store_images

CAPTIONS = 12


def value(*names: Any) -> float:
    """In [0, 1), decided by the names."""
    return int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=4).digest()) / 2**32


def plan(recipe: Recipe, storage: Storage, captions: Sequence[int]) -> None:
    rows = [(f"{n:016x}", f"caption {n}", recipe.shard_keys[n % recipe.shards]) for n in captions]
    curated = pl.DataFrame(rows, schema=["caption_id", "text", "shard"], orient="row")
    write_plan(storage, plan_attempts(curated, recipe.attempts, recipe.seed))


def complete(recipe: Recipe, storage: Storage) -> int:
    """Make and measure what is planned, round by round; returns how many images that took."""
    made = 0
    for shard in recipe.shard_keys:
        state = State.read(recipe, storage, shard)
        while state.waits():
            missing = state.images.missing
            if made_now := missing.height:
                store_images(recipe, storage, shard, missing, [EncodedImage(b"picture", 8, 8)] * made_now)
                state = State.read(recipe, storage, shard)
            unmeasured = state.measured.unmeasured(state.images)
            names = unmeasured.join(state.images.plan, on=["image_id", "shard"], how="left")
            scorer = recipe.scoring.clip.prompt_prefix
            rows = names.with_columns(
                clip_score=pl.Series([value(name, scorer) for name in names["image_id"]], dtype=pl.Float64),
                ssim=pl.Series([value(name, "ssim") for name in names["image_id"]], dtype=pl.Float64),
            )
            state.measured.write(EMBEDDINGS, names.select("image_id"))
            state.measured.write(SCORES, rows.select(*SCORES_SCHEMA))
            state.ask()
            made += made_now
    return made


def contents(recipe: Recipe, storage: Storage) -> list[list[tuple[Any, ...]]]:
    """All that later stages can see."""
    state = State.read(recipe, storage)
    coverage = score_coverage(recipe, storage)
    return [
        read_plan(recipe, storage).rows(),
        state.images.present.rows(),
        state.images.failed.rows(),
        state.images.missing.rows(),
        sorted(complete_scores(recipe, storage, coverage).collect().rows()),
        [coverage.awaited, coverage.lacking],
        [state.shards_to_generate(), state.shards_to_score(), state.shards_to_extend()],
        *([read_plan(recipe, storage, shard).rows()] for shard in recipe.shard_keys),
        sorted(read_scores(recipe, storage, recipe.shard_keys[0]).collect().rows()),
    ]


ADAPTIVE = {"min": 1, "max": 4, "until": 0.8}
CHANGES: dict[str, dict[str, Any]] = {
    "bar": {"attempts": {**ADAPTIVE, "until": 0.6}},
    "higher bar": {"attempts": {**ADAPTIVE, "until": 1.1}},
    "max": {"attempts": {**ADAPTIVE, "max": 2}},
    "min": {"attempts": {**ADAPTIVE, "min": 3}},
    "ssim_weight": {"attempts": {**ADAPTIVE, "ssim_weight": 2.0}},
    "budget": {"attempts": {**ADAPTIVE, "budget": 1.5}},
    "max_captions": {"attempts": {**ADAPTIVE, "max_captions": 5}},
    "budget for fewer captions": {"attempts": {**ADAPTIVE, "budget": 1.5, "max_captions": 7}},
    "fixed": {"attempts": {"per_caption": 2}},
    "one each": {"attempts": {"per_caption": 1}},
    "shards": {"shards": 3},
    "one shard": {"shards": 1},
    "scorer": {"prefix": "An image of "},
}


@pytest.fixture
def recipes(tiny_recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    def make(prefix: str = "A photo depicts ", **changed: Any) -> Recipe:
        clip = {"model": "hf-hub:maker/judge", "pretrained": None, "prompt_prefix": prefix}
        return tiny_recipe(**{"attempts": ADAPTIVE, "shards": 2, "scoring": {"clip": clip}} | changed)

    return make


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_there_and_back_is_as_a_fresh_run(recipes: Callable[..., Recipe], change: dict[str, Any]) -> None:
    storage = Storage(recipes().storage)
    for number, recipe in enumerate([recipes(), recipes(**change), recipes()]):
        plan(recipe, storage, range(CAPTIONS))
        made = complete(recipe, storage)
        fresh = Storage(f"memory://test_state_there_and_back_{number}_{value(change)}")
        plan(recipe, fresh, range(CAPTIONS))
        complete(recipe, fresh)
        assert contents(recipe, storage) == contents(recipe, fresh)
        assert complete(recipe, storage) == 0
        assert number < 2 or made == 0, "what was made before is made no second time"


def test_captions_that_come_and_go_are_as_a_fresh_run_has_them(recipes: Callable[..., Recipe]) -> None:
    recipe = recipes(attempts={**ADAPTIVE, "budget": 1.6})
    storage = Storage(recipe.storage)
    for number, captions in enumerate([range(12), range(5), range(3, 20), range(12)]):
        plan(recipe, storage, captions)
        complete(recipe, storage)
        fresh = Storage(f"memory://test_state_captions_{number}")
        plan(recipe, fresh, captions)
        complete(recipe, fresh)
        assert contents(recipe, storage) == contents(recipe, fresh), captions


def test_the_plan_says_what_waits_for_what(recipes: Callable[..., Recipe]) -> None:
    recipe = recipes(shards=1)
    storage = Storage(recipe.storage)
    plan(recipe, storage, range(CAPTIONS))
    state = State.read(recipe, storage)
    assert (state.images.plan.height, state.asked_for.height, state.waiting()) == (CAPTIONS, 0, CAPTIONS)
    complete(recipe, storage)
    state = State.read(recipe, storage)
    scores = read_scores(recipe, storage).with_columns(weighted_score(0.5)).collect()
    below = scores.filter(pl.col("attempt") == 0, pl.col("weighted_score") < ADAPTIVE["until"]).height
    assert 0 < below < CAPTIONS
    assert state.asked_for.filter(pl.col("attempt") == 1).height == below
    assert state.asked_for.height == state.images.plan.height - CAPTIONS
    assert not state.waits()
    assert state.images.plan.equals(whole_plan(recipe, storage).images)
