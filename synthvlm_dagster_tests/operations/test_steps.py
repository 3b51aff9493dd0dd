import click
import pytest

from synthvlm_dagster.cli import parse_shards

KEYS = [f"{number:04d}" for number in range(20)]


def test_shards_can_be_named_singly_and_as_ranges():
    assert parse_shards("0003,0000-0001, 0003", KEYS) == ["0000", "0001", "0003"]


@pytest.mark.parametrize(
    ("text", "message"), [("0099", "no shard '0099'"), ("0003-0001", "backwards"), ("", "no shard")]
)
def test_shards_that_do_not_exist_are_named(text, message):
    with pytest.raises(click.UsageError, match=message):
        parse_shards(text, KEYS)
