"""Which captions a night tries again first."""

import itertools

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.attempts.order import ATTEMPTS_SCHEMA, weakest_and_cheapest

BAR = 1.2
SCHEMA = {
    "caption_id": pl.String,
    "shard": pl.String,
    "attempt": pl.Int32,
    "weighted_score": pl.Float64,
    "failed": pl.Boolean,
}
# None is an image that could not be made.
SCORES = st.lists(st.one_of(st.none(), st.floats(0, 1.5)), min_size=1, max_size=4)


def tried(captions: dict[str, list[float | None]], waiting: dict[str, int] | None = None) -> pl.DataFrame:
    """Images of captions, each in a shard named by its first letter; so many more of some are not made yet."""
    rows = [
        (name, name[0], attempt, score, score is None)
        for name, scores in captions.items()
        for attempt, score in enumerate(scores)
    ]
    rows += [
        (name, name[0], len(captions[name]) + number, None, False)
        for name, count in (waiting or {}).items()
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def order(captions: dict[str, list[float | None]], **changed: int) -> list[str]:
    return weakest_and_cheapest(tried(captions), BAR, 9, **changed)["caption_id"].to_list()


@settings(deadline=None, max_examples=50)
@given(st.lists(SCORES, max_size=12), st.integers(2, 5), st.floats(0.1, 1.5), st.integers(0, 3))
def test_exactly_the_captions_below_the_bar_that_may_have_more_get_one(lists, most, bar, retries):
    captions = {f"{number % 3}-{number}": scores for number, scores in enumerate(lists)}
    wanted = weakest_and_cheapest(tried(captions), bar, most, retries)
    assert wanted.schema == ATTEMPTS_SCHEMA
    best = {
        name: max((score for score in scores if score is not None), default=None) for name, scores in captions.items()
    }
    expected = {
        (name, len(scores), name[0], best[name])
        for name, scores in captions.items()
        if (best[name] is None or best[name] < bar) and len(scores) < most
    }
    assert set(wanted.iter_rows()) == expected
    assert wanted.height == len(expected)
    assert wanted.equals(weakest_and_cheapest(tried(captions).reverse(), bar, most, retries))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, BAR, exclude_max=True), min_size=1, max_size=12))
def test_of_captions_with_one_image_the_weakest_comes_first(scores):
    captions = {f"a{number}": [score] for number, score in enumerate(scores)}
    found = [captions[name][0] for name in order(captions)]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(found))


def test_a_caption_that_many_images_have_left_low_comes_after_one_that_was_drawn_once():
    spread = {f"b{number}": [1.0 + number / 40, 1.1 + number / 40, 0.9 + number / 40] for number in range(8)}
    wanted = order({"hard": [0.80] * 6, "unlucky": [0.80], **spread})
    assert wanted.index("unlucky") < wanted.index("hard")
    assert wanted.index("unlucky") < wanted.index("b3")


def test_a_caption_whose_images_are_refused_costs_its_retries():
    captions = {"refused": [0.9, None], "plain": [0.9], **{f"c{number}": [1 + number / 10] for number in range(2)}}
    assert order(captions, retries=5).index("plain") < order(captions, retries=5).index("refused")


def test_a_shard_waits_for_what_is_still_to_be_made():
    captions = {"a1": [0.5], "a2": [0.6], "b1": [0.7]}
    wanted = weakest_and_cheapest(tried(captions, {"a2": 1}), BAR, 9)
    assert wanted["caption_id"].to_list() == ["b1"]


def test_without_any_image_every_caption_is_as_good_as_the_other():
    assert order({"a2": [None], "a1": [None]}) == ["a1", "a2"]
    assert order({}) == []
