from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.operations.arrival.watch import Watch, compare_files

SETTLE = 10.0
LOOKS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=30)


@given(LOOKS)
def test_what_is_launched_was_the_same_for_the_time_and_in_two_looks(looks):
    watch, now, seen = Watch(), 1000.0, []
    for files, seconds in looks:
        now += seconds
        seen.append((files, now))
        watch = Watch.from_cursor(watch.model_dump_json()).after_look(files, now)
        if watch.seconds_to_settle(now, SETTLE) is None:
            same = [moment for same_files, moment in _last_alike(seen) if same_files == files]
            assert len(same) >= 2
            assert now - same[0] >= SETTLE
        if files != watch.handled and watch.seconds_to_settle(now, SETTLE) is None:
            watch = watch.after_launch()


@given(LOOKS)
def test_no_two_noted_launches_have_the_same_key(looks):
    watch, keys = Watch(), []
    for files, _ in looks:
        watch = watch.after_look(files, 0.0)
        if files != watch.handled:
            key = watch.next_run_key()
            watch = watch.after_launch()
            assert watch.last_run_key() == key
            keys.append(key)
    assert len(keys) == len(set(keys))


def test_a_clock_that_is_put_back_begins_the_wait_anew():
    watch = Watch().after_look("a", 100.0).after_look("a", 50.0)
    assert watch.seconds_to_settle(50.0, SETTLE) == SETTLE


@given(*[st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("12"))] * 2)
def test_every_file_is_new_changed_gone_or_as_before(before, now):
    changes = compare_files(before, now)
    as_before = {name for name in now if before.get(name) == now[name]}
    assert {*changes.new, *changes.changed, *as_before} == now.keys()
    assert {*changes.gone, *changes.changed, *as_before} == before.keys()
    assert bool(changes.in_words()) == (before != now)


def _last_alike(seen):
    files = seen[-1][0]
    begin = next((index for index in range(len(seen) - 1, -1, -1) if seen[index][0] != files), -1)
    return seen[begin + 1 :]
