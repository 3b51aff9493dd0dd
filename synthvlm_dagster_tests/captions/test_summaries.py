"""Captions in markdown are text, whatever they hold."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from synthvlm_dagster.captions.curate import curate_captions
from synthvlm_dagster.captions.summaries import as_markdown_text, rejections_by_rule, rejections_markdown, shortened
from synthvlm_dagster.recipe import Curation
from synthvlm_dagster_tests.captions.raw import SHARDS, raw_table

GFM = MarkdownIt("commonmark", {"html": True}).enable("table")


def inline_tokens(markdown):
    tokens = GFM.parse(markdown)
    return [child for token in tokens if token.type == "inline" for child in token.children]


@given(st.text(alphabet=st.sampled_from("ab |<>&*_`[]()!#~-+=.:/\\\"'1\n\t"), max_size=40) | st.text(max_size=40))
def test_a_caption_in_a_table_cell_is_shown_as_it_is(caption):
    tokens = inline_tokens(f"| rule | example |\n|---|---|\n| r | {as_markdown_text(caption)} |")
    assert [token.type for token in tokens if token.type not in ("text", "text_special")] == []
    shown = "".join(token.content for token in tokens)
    readable = "".join(caption.replace("\0", "\ufffd").split())
    assert "".join(shown.split()) == f"ruleexampler{readable}"


@pytest.mark.parametrize("caption", ["www.example.org", "https://example.org", "me@example.org", "# title", "1. one"])
def test_no_link_heading_or_list_begins_in_a_caption(caption):
    escaped = as_markdown_text(caption)
    assert MarkdownIt("gfm-like", {"linkify": False}).renderInline(escaped) == caption
    assert "://" not in escaped
    assert "@" not in escaped
    assert "www." not in escaped


def test_plain_captions_stay_readable():
    assert as_markdown_text("It's a dog, a cat.") == "It's a dog, a cat."


def test_long_texts_are_shortened():
    assert shortened("a" * 120) == "a" * 120
    assert shortened("a" * 121) == "a" * 119 + "…"


def test_rejections_are_listed_in_the_order_of_the_rules():
    texts = ["A brown dog runs along the beach.", "a brown dog runs along the beach", "!!!", None, "..."]
    curated, rejected = curate_captions(raw_table(texts), Curation(), SHARDS)
    assert rejections_by_rule(rejected).rows() == [
        ("unreadable_row", 1, "caption is null"),
        ("alnum_ratio", 2, "!!!"),
        ("duplicates", 1, "a brown dog runs along the beach"),
    ]
    assert "| alnum_ratio | 2 | 40.00% | &#33;&#33;&#33; |" in rejections_markdown(rejected, len(texts))
    assert rejections_markdown(pl.DataFrame(rejected.clear()), curated.height) == "No caption was rejected."
