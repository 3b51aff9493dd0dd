"""Which captions get another image, whatever the scores are."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.attempts.further_attempts import attempts_still_possible, next_attempts, with_further_attempts
from synthvlm_dagster.images.plan import PLAN_SCHEMA, with_image_ids
from synthvlm_dagster.recipe import Attempts

BAR = 0.5
SHARD = "0000"
SCHEMA = {
    "caption_id": pl.String,
    "attempt": pl.Int32,
    "weighted_score": pl.Float64,
    "failed": pl.Boolean,
    "shard": pl.String,
}

IMAGE = st.one_of(
    st.tuples(st.sampled_from([0.0, 0.3, 0.4999, BAR, 0.7, -0.2]), st.just(False)),  # measured
    st.just((None, True)),  # could not be made
)
WAITING = st.just((None, False))
CAPTIONS = st.dictionaries(
    st.sampled_from([f"{number:016x}" for number in range(12)]),
    st.lists(st.one_of(IMAGE, IMAGE, IMAGE, WAITING), min_size=1, max_size=5),
    min_size=1,
)
SETTINGS = st.builds(
    lambda fewest, more, budget: Attempts(
        min=fewest, max=fewest + more, until=BAR, budget=None if budget is None else fewest + budget * more
    ),
    fewest=st.integers(1, 3),
    more=st.integers(1, 3),
    budget=st.none() | st.floats(0, 1),
)


def table(captions: dict[str, list[tuple[float | None, bool]]]) -> pl.DataFrame:
    rows = [(name, attempt, *image, SHARD) for name, images in captions.items() for attempt, image in enumerate(images)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def best(images: list[tuple[float | None, bool]]) -> float | None:
    return max((score for score, _ in images if score is not None), default=None)


@given(CAPTIONS, SETTINGS, st.randoms(use_true_random=False))
def test_who_gets_another_attempt(captions, settings, random):
    tried = table(captions)
    wanted = next_attempts(tried, settings)
    shuffled = tried.sample(fraction=1, shuffle=True, seed=random.randint(0, 1000))
    assert next_attempts(shuffled, settings).equals(wanted), "the order of the rows does not matter"
    assert wanted["caption_id"].is_unique().all()
    for caption, attempt, score, _ in wanted.iter_rows():
        images = captions[caption]
        assert attempt == len(images) < settings.most
        assert score == best(images)
        assert score is None or score < BAR
        assert (None, False) not in images
    merits = [-1e9 if score is None else score for score in wanted["best_score"]]
    assert merits == sorted(merits, reverse=True), "nearest to the bar first"
    eligible = {
        name
        for name, images in captions.items()
        if (None, False) not in images and len(images) < settings.most and (best(images) or -1) < BAR
    }
    assert set(wanted["caption_id"]) <= eligible
    if settings.budget is None:
        assert set(wanted["caption_id"]) == eligible
    elif not wanted.is_empty():
        assert tried.height + wanted.height <= settings.budget * len(captions) + 1e-6
        left_out = [best(captions[name]) or -1e9 for name in eligible - set(wanted["caption_id"])]
        assert max(left_out, default=-1e9) <= min(merits), "those left out are no nearer to the bar"


@given(CAPTIONS, SETTINGS)
def test_asking_twice_without_new_scores_adds_nothing(captions, settings):
    tried = table(captions)
    asked = next_attempts(tried, settings).with_columns(weighted_score=pl.lit(None, pl.Float64), failed=pl.lit(False))
    again = pl.concat([tried, asked.select(*SCHEMA)])
    assert next_attempts(again, settings).is_empty()


@given(CAPTIONS, SETTINGS, st.lists(IMAGE, min_size=60, max_size=60))
def test_rounds_end_within_what_was_said_to_be_possible(captions, settings, draws):
    captions = {name: [image for image in images if image != (None, False)] for name, images in captions.items()}
    captions = {name: images for name, images in captions.items() if images} or {"a": [(0.0, False)]}
    possible, draws, made = attempts_still_possible(table(captions), settings), iter(draws), 0
    while not (wanted := next_attempts(table(captions), settings)).is_empty():
        for caption in wanted["caption_id"]:
            captions[caption].append(next(draws))
            made += 1
    assert made <= possible
    assert attempts_still_possible(table(captions), settings) == 0


def test_a_budget_goes_to_the_captions_nearest_to_the_bar():
    scores = {"a": 0.1, "b": 0.49, "c": 0.9, "d": 0.3}
    tried = table({name: [(score, False)] for name, score in scores.items()})
    for budget, expected in ((1.0, []), (1.25, ["b"]), (1.7, ["b", "d"]), (2.0, ["b", "d", "a"])):
        settings = Attempts(max=3, until=BAR, budget=budget)
        assert next_attempts(tried, settings)["caption_id"].to_list() == expected


@pytest.mark.parametrize(("captions", "budget"), [(100, 1.15), (10, 2.3), (100, 2.29)])
def test_a_budget_is_exact(captions, budget):
    tried = table({f"{number:016x}": [(0.1, False)] for number in range(captions)})
    wanted = attempts_still_possible(tried, Attempts(max=9, until=BAR, budget=budget))
    assert wanted == round(captions * budget) - captions


SHARDS = ("0000", "0001")
OUTCOMES = st.lists(st.lists(IMAGE, min_size=6, max_size=6), min_size=1, max_size=8)


def first_plan(captions: int, fewest: int) -> pl.DataFrame:
    """Captions 0, 1, … dealt out over two shards, with their first attempts."""
    rows = [
        (f"{number:016x}", f"caption {number}", attempt, SHARDS[number % 2])
        for number in range(captions)
        for attempt in range(fewest)
    ]
    return with_image_ids(pl.DataFrame(rows, schema=PLAN_SCHEMA, orient="row"))


def outcomes_of(plan: pl.DataFrame, outcomes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores, and what could not be made, of some images."""
    rows = [
        (image_id, shard, *outcomes[int(caption, 16)][attempt])
        for image_id, shard, caption, attempt in plan.select("image_id", "shard", "caption_id", "attempt").iter_rows()
    ]
    schema = {"image_id": pl.String, "shard": pl.String, "weighted_score": pl.Float64, "failed": pl.Boolean}
    found = pl.DataFrame(rows, schema=schema, orient="row")
    return found.filter(~pl.col("failed")).drop("failed"), found.filter("failed").select("image_id", "shard")


def as_a_fresh_run(outcomes, settings: Attempts) -> set[tuple[str, int]]:
    """What is asked for, worked out without what is tested: shard by shard, round by round."""
    asked = set()
    for remainder in (0, 1):
        tried = {
            f"{number:016x}": images[: settings.fewest]
            for number, images in enumerate(outcomes)
            if number % 2 == remainder
        }
        while tried and not (wanted := next_attempts(table(tried), settings)).is_empty():
            for caption in wanted["caption_id"]:
                tried[caption] = outcomes[int(caption, 16)][: len(tried[caption]) + 1]
        asked |= {(caption, attempt) for caption, images in tried.items() for attempt in range(len(images))}
    return asked


def make_all(plan: pl.DataFrame, made: pl.DataFrame, outcomes, settings: Attempts) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make and measure what is planned until nothing waits; the plan at the end, and all that has ever been made."""
    while True:
        planned = with_further_attempts(plan, *outcomes_of(made, outcomes), settings)
        missing = planned.join(made, on="image_id", how="anti")
        if missing.is_empty():
            return planned, made
        made = pl.concat([made, missing])


@given(OUTCOMES, st.lists(SETTINGS, min_size=1, max_size=4))
def test_whatever_was_asked_for_before_the_plan_is_that_of_a_fresh_run(outcomes, history):
    made = first_plan(0, 1)
    for settings in history:
        first = first_plan(len(outcomes), settings.fewest)
        planned, made = make_all(first, made, outcomes, settings)
        assert set(planned.select("caption_id", "attempt").iter_rows()) == as_a_fresh_run(outcomes, settings)
        assert planned.columns == first.columns
        assert planned.equals(planned.sort("caption_id", "attempt"))
        assert made["image_id"].is_unique().all()


@given(OUTCOMES, SETTINGS, SETTINGS, st.integers(0, 7))
def test_captions_that_come_and_go_leave_no_trace(outcomes, settings, others, some):
    """A budget makes what a caption gets depend on the others of its shard."""
    made = make_all(first_plan(len(outcomes), others.fewest), first_plan(0, 1), outcomes, others)[1]
    kept = outcomes[: max(1, some)]
    planned, _ = make_all(first_plan(len(kept), settings.fewest), made, outcomes, settings)
    assert set(planned.select("caption_id", "attempt").iter_rows()) == as_a_fresh_run(kept, settings)


@given(OUTCOMES, SETTINGS, st.data())
def test_a_round_that_was_killed_goes_on(outcomes, settings, data):
    first = first_plan(len(outcomes), settings.fewest)
    planned, _ = make_all(first, first_plan(0, 1), outcomes, settings)
    made = planned.filter([data.draw(st.booleans()) for _ in range(planned.height)])
    then = with_further_attempts(first, *outcomes_of(made, outcomes), settings)
    assert set(then["image_id"]) <= set(planned["image_id"])
    assert make_all(first, made, outcomes, settings)[0].equals(planned)
