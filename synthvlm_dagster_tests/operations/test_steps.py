import itertools

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.cli import parse_shards
from synthvlm_dagster.operations.run import contiguous_blocks

KEYS = [f"{number:04d}" for number in range(20)]


@given(st.sets(st.sampled_from(KEYS)))
def test_blocks_are_the_fewest_ranges_that_cover_the_chosen(chosen):
    blocks = contiguous_blocks(sorted(chosen), KEYS)
    assert [key for block in blocks for key in block] == sorted(chosen)
    for block in blocks:
        first = KEYS.index(block[0])
        assert block == KEYS[first : first + len(block)]
    ends = [(KEYS.index(block[0]), KEYS.index(block[-1])) for block in blocks]
    assert all(later[0] - earlier[1] > 1 for earlier, later in itertools.pairwise(ends))


def test_shards_can_be_named_singly_and_as_ranges():
    assert parse_shards("0003,0000-0001, 0003", KEYS) == ["0000", "0001", "0003"]


@pytest.mark.parametrize(
    ("text", "message"), [("0099", "no shard '0099'"), ("0003-0001", "backwards"), ("", "no shard")]
)
def test_shards_that_do_not_exist_are_named(text, message):
    with pytest.raises(click.UsageError, match=message):
        parse_shards(text, KEYS)
