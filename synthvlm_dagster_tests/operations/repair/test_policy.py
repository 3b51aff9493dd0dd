import itertools

from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.operations.repair.policy import FailedShard, decide, due_at, message, run_key
from synthvlm_dagster.recipe.operations.repair import Repair

minutes = st.floats(0, 1e4)
settings = st.builds(Repair, max_attempts=st.integers(0, 6), first_pause_minutes=minutes, pause_factor=st.floats(1, 5))
failed = st.builds(
    FailedShard,
    shard=st.from_regex(r"\d{4}", fullmatch=True),
    assets=st.just(("generated_images",)),
    failed_at=st.floats(0, 2e9),
    error=st.text(max_size=20),
    attempts=st.integers(0, 8),
)


@given(st.lists(failed, unique_by=lambda one: one.shard), settings, st.floats(0, 4e9))
def test_every_failed_shard_is_in_one_place(shards, settings, now):
    due, waiting, given_up = decide(shards, settings, now)
    assert sorted([*(one.shard for one in (*due, *given_up)), *waiting]) == sorted(one.shard for one in shards)
    assert all(one.attempts < settings.max_attempts and due_at(one, settings) <= now for one in due)
    assert all(one.attempts >= settings.max_attempts for one in given_up)
    assert all(when > now for when in waiting.values())


@given(settings, st.floats(0, 600), st.floats(0, 60))
def test_a_shard_that_never_heals_is_tried_so_often_after_growing_pauses(settings, seconds_to_fail, lateness):
    """Each launch comes a little late, as a sensor does, and each repair takes its time to fail."""
    shard = FailedShard("0003", ("image_scores",), 1e9, "no room", 0)
    pauses = []
    while (when := due_at(shard, settings)) is not None:
        assert decide([shard], settings, when - 1).due == []
        launched = when + lateness
        assert decide([shard], settings, launched).due == [shard]
        pauses.append(launched - shard.failed_at)
        shard = shard._replace(failed_at=launched + seconds_to_fail, attempts=shard.attempts + 1)
    assert len(pauses) == settings.max_attempts
    assert all(later >= earlier - 1e-3 for earlier, later in itertools.pairwise(pauses))
    assert decide([shard], settings, 1e12).given_up == [shard]


def test_the_pauses_are_those_of_the_recipe():
    settings = Repair(max_attempts=3, first_pause_minutes=5, pause_factor=2)
    shard = FailedShard("0003", ("image_scores",), 1000.0, "", 0)
    due = [due_at(shard._replace(attempts=attempts), settings) for attempts in range(4)]
    assert due == [1300.0, 1600.0, 2200.0, None]


@given(st.lists(failed, min_size=1, unique_by=lambda one: one.shard), st.randoms())
def test_the_same_repair_has_the_same_key_and_the_next_attempt_another(shards, random):
    shuffled = random.sample(shards, len(shards))
    assert run_key(shuffled) == run_key(shards)
    assert run_key([one._replace(attempts=one.attempts + 1) for one in shards]) != run_key(shards)
    assert run_key([one._replace(failed_at=one.failed_at + 1) for one in shards]) != run_key(shards)


def test_the_message_says_which_shards_why_and_what_to_do():
    shards = [
        FailedShard("0007", ("image_scores",), 0, "no room", 3),
        FailedShard("0003", ("generated_images", "image_scores"), 0, "broken file", 3),
    ]
    title, text = message(shards, 3)
    assert title == "2 shards could not be repaired: 0003, 0007"
    assert "0003 (generated_images, image_scores): broken file" in text
    assert "0007 (image_scores): no room" in text
    assert "repaired 3 times in vain" in text
    assert "launch the job repair_shards" in text
