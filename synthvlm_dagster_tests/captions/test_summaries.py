"""Captions in markdown are text, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from synthvlm_dagster.captions.curate import curate_captions
from synthvlm_dagster.captions.rules import TEMPLATE_RULES
from synthvlm_dagster.captions.summaries import (
    borderline_markdown,
    most_rejected_markdown,
    rejections_by_rule,
    rejections_markdown,
)
from synthvlm_dagster.markdown import as_markdown_text, markdown_table, shortened
from synthvlm_dagster.recipe import Curation, CurationRules
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
    # A sign that shows nothing stands in addresses, as Dagster's page would make links of them.
    assert "".join(shown.split()).replace("\u2060", "") == f"ruleexampler{readable}".replace("\u2060", "")


@pytest.mark.parametrize("caption", ["www.example.org", "https://example.org", "me@example.org", "# title", "1. one"])
def test_no_link_heading_or_list_begins_in_a_caption(caption):
    escaped = as_markdown_text(caption)
    assert MarkdownIt("gfm-like", {"linkify": False}).renderInline(escaped).replace("\u2060", "") == caption
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
    by_rule = rejections_by_rule(rejected.lazy(), Curation())
    assert by_rule.rows() == [
        ("unreadable_row", 1, "caption is null"),
        ("alnum_ratio", 2, "!!!"),
        ("duplicates", 1, "a brown dog runs along the beach"),
    ]
    assert "| alnum_ratio | 2 | 40.00% | &#33;&#33;&#33; |" in rejections_markdown(by_rule, len(texts))
    assert rejections_markdown(by_rule.clear(), curated.height) == "No caption was rejected."


def examples(markdown):
    """The cells of each line of a table, its head left out."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()[2:]]


@pytest.fixture
def counted():
    """Captions of 1 to 30 words; those with 10 to 20 are kept."""
    texts = [" ".join(f"w{number}" for number in range(words)) for words in range(1, 31)]
    curation = Curation(rules=CurationRules(**dict.fromkeys(TEMPLATE_RULES), num_words={"min": 10, "max": 20}))
    curated, rejected = curate_captions(raw_table(texts), curation, SHARDS)
    assert (curated.height, rejected.height) == (11, 19)
    return curated.lazy(), rejected.lazy(), curation


def test_the_most_rejected_are_the_farthest_from_the_bounds(counted):
    _, rejected, curation = counted
    rows = examples(most_rejected_markdown(rejected, curation))
    assert [row[0] for row in rows] == ["num_words"] * 10
    assert float(rows[0][1]) == 30
    # 21 to 30 are 1 to 10 beyond the bounds, 1 to 9 as many short of them.
    assert {1, 2, 3, 4, 26, 27, 28, 29, 30} <= {float(row[1]) for row in rows}


def test_borderline_captions_are_the_nearest_to_the_bounds_on_both_sides(counted):
    curated, rejected, curation = counted
    rows = [row for row in examples(borderline_markdown(curated, rejected, curation)) if row[0] == "num_words"]
    assert {row[1] for row in rows} == {"10–20"}
    kept, others = (sorted(float(row[2]) for row in rows if row[3] == verdict) for verdict in ("kept", "rejected"))
    assert len(kept) == len(others) == 5
    assert {10, 11, 19, 20} <= set(kept)
    assert {8, 9, 21, 22} <= set(others)


def test_numbers_stand_right_and_missing_ones_are_empty():
    table = markdown_table(("rule", "value#"), [("a", 1234), ("b", 0.5), ("c", None)])
    assert table.splitlines() == ["| rule | value |", "|---|---:|", "| a | 1,234 |", "| b | 0.5 |", "| c |  |"]
