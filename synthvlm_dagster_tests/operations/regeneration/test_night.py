"""A night's budget, and its record in the store."""

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.attempts.plan import read_plan, read_tried
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.operations.regeneration.night import (
    NIGHTS,
    Limits,
    Night,
    add_to_night,
    attempts_of_nights,
    new_night,
    open_night,
    save_night,
)
from synthvlm_dagster.operations.regeneration.report import report_night
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import captions_in_shards, plan

LIMITS = Limits(bar=1.2, max_attempts=4, max_images=10, max_gpu_hours=1)


def night(**changed: object) -> Night:
    start = Night(name="n", generator="g", limits=LIMITS, pairs_before=None, mean_selected_before=None)
    return start.model_copy(update=changed)


@settings(deadline=None)
@given(
    st.integers(1, 500),
    st.floats(0.001, 2),
    st.lists(st.tuples(st.integers(1, 60), st.floats(0.1, 90), st.booleans()), max_size=30),
    st.one_of(st.none(), st.floats(0.1, 90)),
)
def test_no_night_adds_or_takes_more_than_it_may(max_images, max_hours, steps, guess):
    """Adds as much as is affordable, step by step; images take the time of each step, and some runs are killed."""
    limits = Limits(bar=1.2, max_attempts=4, max_images=max_images, max_gpu_hours=max_hours)
    current, added, made = night(limits=limits), 0, 0
    for wanted, seconds, killed in steps:
        more = min(wanted, current.affordable(added, made, current.seconds_per_image or guess, 8))
        known = current.seconds_per_image or guess
        assert more <= 8 or known is not None
        if known is not None and more:
            assert current.spent_seconds + (added - made + more) * known <= max_hours * 3600 + 1e-6
        added += more
        assert added <= max_images
        if not killed and added > made:
            current = current.worked(added - made, (added - made) * seconds, 0.0, on_gpu=True)
            made = added
    assert current.images_timed == made


def test_loading_counts_for_the_budget_and_not_for_the_rate():
    spent = night().worked(4, 8.0, 3592.0, on_gpu=False)
    assert (spent.seconds_per_image, spent.spent_seconds) == (2.0, 3600.0)
    assert spent.affordable(4, 4, 2.0, 8) == 0
    assert night().affordable(4, 4, 2.0, 8) == 6
    assert night().affordable(10, 2, 1.0, 8) == 0


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe]) -> Recipe:
    return tiny_recipe(attempts={"per_caption": 1}, generation={"price_per_gpu_hour": 3.6})


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    storage = Storage(recipe.storage)
    plan(storage, captions_in_shards(4, recipe.shard_keys), attempts=1)
    return storage


def attempts(*names: str) -> pl.DataFrame:
    rows = [(name, 1, 0.5) for name in names]
    return pl.DataFrame(
        rows, schema={"caption_id": pl.String, "attempt": pl.Int32, "best_score": pl.Float64}, orient="row"
    )


def test_a_night_is_open_until_it_is_reported(recipe: Recipe, storage: Storage, tiny_recipe: Callable[..., Recipe]):
    assert open_night(recipe, storage) is None
    begun = new_night(recipe, storage, LIMITS)
    assert open_night(recipe, storage) is None, "nothing is written before there is something to do"
    save_night(storage, begun)
    save_night(storage, begun.worked(3, 6.0, 1.0, on_gpu=True))
    assert open_night(recipe, storage) == begun.worked(3, 6.0, 1.0, on_gpu=True)
    assert open_night(tiny_recipe(seed=8), storage) is None, "another generator's night"
    save_night(storage, begun.model_copy(update={"reported": True}))
    assert open_night(recipe, storage) is None


def test_a_record_that_cannot_be_read_is_named(recipe: Recipe, storage: Storage):
    storage.write_bytes(f"{NIGHTS}/2026-11-27T01-00-00.json", b"{")
    with pytest.raises(StorageError, match=r"2026-11-27T01-00-00.json: is no record of a night. Delete it"):
        open_night(recipe, storage)


def test_what_a_night_adds_stays_in_the_plan_of_any_number_of_attempts(
    recipe: Recipe, storage: Storage, tiny_recipe: Callable[..., Recipe]
):
    begun = new_night(recipe, storage, LIMITS)
    shard = recipe.shard_keys[0]
    names = [f"{number:016x}" for number in (0, 2)]
    add_to_night(recipe, storage, begun, shard, attempts(*names))
    add_to_night(recipe, storage, begun, shard, attempts(*names))
    assert attempts_of_nights(recipe, storage)["image_id"].to_list() == [f"{name}-01" for name in names]
    assert read_plan(recipe, storage).height == 6
    for other in ({"max": 3, "until": 1.0}, {"per_caption": 5}):
        assert read_plan(tiny_recipe(attempts=other), storage, shard).height == 4


def test_a_report_tells_what_is_left_to_make(recipe: Recipe, storage: Storage):
    begun = new_night(recipe, storage, LIMITS).worked(0, 1000.0, 0.0, on_gpu=True)
    add_to_night(recipe, storage, begun, recipe.shard_keys[0], attempts(f"{0:016x}"))
    report = report_night(recipe, storage, begun, read_tried(recipe, storage))
    assert (report.images, report.unfinished, report.captions, report.lifted, report.left) == (0, 1, 1, 0, 4)
    assert report.dollars == pytest.approx(1.0)
    assert "1 are still to be made or measured" in report.text
    assert "16.7 GPU-minutes, $1.00" in report.markdown
