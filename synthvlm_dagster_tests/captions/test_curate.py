"""Every caption ends in exactly one table, for the documented reason."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.captions.curate import UNREADABLE_ROW, Curator, curate_captions
from synthvlm_dagster.captions.readers import RAW_SCHEMA
from synthvlm_dagster.captions.text_statistics import STATISTICS
from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Curation, CurationRules
from synthvlm_dagster_tests.captions.raw import SHARDS, raw_table

GOOD = "A brown dog runs along a quiet beach at sunset."
CURATION = Curation()
ONE_CAPTION_PER_RULE = {
    "unreadable_row": None,
    "alnum_ratio": "?!? a ;-) b ?!? c ;-) d ?!?",
    "special_char_ratio": "Call 555 0134 7788 or 555 0199 4421 today 24 7",
    "flagged_words_ratio": "A brown dog runs along a fucking beach at sunset.",
    "char_rep_ratio": "buy cheap shoes now buy cheap shoes now buy cheap shoes now",
    "duplicates": GOOD.upper(),
}
CAPTIONS = st.lists(
    st.tuples(
        st.sampled_from(["coco", "web"]),
        st.none()
        | st.sampled_from(
            [GOOD, GOOD.upper(), "...", "!!!", "A cat sleeps on a red sofa", "a cat sleeps on a red sofa."]
        )
        | st.text(min_size=1),
    ),
    max_size=12,
)


def rejections(texts, curation=CURATION):
    curated, rejected = curate_captions(raw_table(texts), curation, SHARDS)
    return curated["text"].to_list(), dict(rejected.select("text", "rejected_by").iter_rows())


def table(captions):
    return raw_table([text for _, text in captions], [source for source, _ in captions])


def test_a_good_caption_is_kept_with_everything_measured():
    curated, rejected = curate_captions(raw_table([GOOD]), CURATION, SHARDS)
    assert rejected.is_empty()
    assert curated.columns == [*RAW_SCHEMA, *STATISTICS, "not_measured", "shard"]
    assert curated.schema == {**RAW_SCHEMA, **Curator(CURATION, SHARDS).schema}
    assert rejected.columns == [*curated.columns, "rejected_by"]
    assert curated.select(*STATISTICS).null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize("rule", ONE_CAPTION_PER_RULE)
def test_each_rule_rejects(rule):
    kept, rejected = rejections([GOOD, ONE_CAPTION_PER_RULE[rule]])
    assert kept == [GOOD]
    assert rejected == {ONE_CAPTION_PER_RULE[rule]: rule}


def test_word_repetition_rejects_when_character_repetition_is_switched_off():
    text = " ".join(["an old lighthouse stands on the cliff above grey water today"] * 2)
    curation = Curation(rules=CurationRules(char_rep_ratio=None))
    assert rejections([text], curation) == ([], {text: "word_rep_ratio"})


def test_lengths_are_those_of_the_caption_not_of_the_wrapped_text():
    rules = CurationRules(text_length={"max": 47}, num_words={"min": 10, "max": 10})
    curated, _ = curate_captions(raw_table([GOOD, "A cat."]), Curation(rules=rules), SHARDS)
    assert curated.select("text", "text_length", "num_words").rows() == [(GOOD, 47, 10)]


def test_bounds_are_part_of_what_is_kept():
    exact = Curation(text_template="{caption}", rules=CurationRules(alnum_ratio={"min": 0.75, "max": 0.75}))
    assert rejections(["abc dog+ abc-dog", "abcd dog+ abcdog"], exact)[0] == ["abc dog+ abc-dog"]


def test_the_first_rule_in_order_is_named():
    rules = CurationRules(alnum_ratio={"min": 1.0}, text_length={"max": 3})
    assert rejections(["a long one", "a b"], Curation(rules=rules))[1] == {
        "a long one": "text_length",
        "a b": "alnum_ratio",
    }


def test_a_rejected_copy_does_not_take_a_good_one_with_it():
    shouted = GOOD.replace(".", "!" * 60)
    kept, rejected = rejections([shouted, GOOD])
    assert kept == [GOOD]
    assert rejected == {shouted: "alnum_ratio"}


def test_of_duplicates_the_first_source_keeps_its_caption():
    curated, rejected = curate_captions(raw_table([GOOD, f"{GOOD} ", GOOD], ["b", "a", "b"]), CURATION, SHARDS)
    assert curated.select("source", "source_row").rows() == [("b", 0)]
    assert rejected["rejected_by"].to_list() == ["duplicates", "duplicates"]


def test_kept_duplicates_are_still_one_caption_within_a_source():
    curation = Curation(rules=CurationRules(duplicates=None))
    curated, rejected = curate_captions(
        raw_table([GOOD, GOOD, GOOD.upper(), GOOD], ["a", "a", "a", "b"]), curation, SHARDS
    )
    assert curated["source_row"].to_list() == [0, 2, 3]
    assert rejected["rejected_by"].to_list() == ["duplicates"]


def test_texts_of_punctuation_alone_are_not_duplicates_of_each_other():
    free = Curation(rules=CurationRules(alnum_ratio=None, special_char_ratio=None))
    assert rejections(["...", "!!!", "..."], free) == (["...", "!!!"], {"...": "duplicates"})


@pytest.mark.parametrize("content", [json.dumps(["Beach"]), json.dumps({"en": ["beach"]}), "sofa\n beach \n\n"])
def test_flagged_words_from_a_file(tmp_path, content):
    file = tmp_path / "words.txt"
    file.write_text(content)
    kept, rejected = rejections([GOOD, "A fucking dog runs along a street."], Curation(flagged_words=str(file)))
    assert rejected == {GOOD: "flagged_words_ratio"}
    assert kept == ["A fucking dog runs along a street."]


@pytest.mark.parametrize("content", [None, "[1, 2]", "[", ""])
def test_a_list_of_flagged_words_that_is_none_is_refused(tmp_path, content):
    file = tmp_path / "words.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RecipeError, match=r"curation\.flagged_words: .*words\.json"):
        rejections([GOOD], Curation(flagged_words=str(file)))


def test_shards_follow_from_the_caption_alone():
    texts = [f"caption number {number}" for number in range(200)]
    curated, rejected = curate_captions(raw_table(texts), CURATION, SHARDS)
    both = pl.concat([curated, rejected], how="diagonal")
    expected = [SHARDS[int(name, 16) % len(SHARDS)] for name in both["caption_id"]]
    assert both["shard"].to_list() == expected
    assert set(expected) == set(SHARDS)


@settings(max_examples=60, deadline=None)
@given(CAPTIONS)
def test_the_two_tables_part_the_raw_one(captions):
    raw = table(captions)
    curated, rejected = curate_captions(raw, CURATION, SHARDS)
    together = pl.concat([curated, rejected], how="diagonal").sort("source_row").select(raw.columns)
    assert together.equals(raw)
    assert curated["caption_id"].is_unique().all()
    assert set(rejected["rejected_by"]) <= {UNREADABLE_ROW, *CURATION.rule_order}
    assert curated["source_row"].is_sorted()
    assert rejected["source_row"].is_sorted()


@settings(max_examples=60, deadline=None)
@given(CAPTIONS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_measure_and_no_rule(captions, random):
    raw = table(captions)
    shuffled = raw[random.sample(range(raw.height), raw.height)]

    def verdicts(frame):
        curated, rejected = curate_captions(frame, CURATION, SHARDS)
        both = pl.concat([curated, rejected], how="diagonal")
        # Which of several copies is the first one does depend on the order.
        judged_alike = pl.col("rejected_by").replace("duplicates", None)
        return both.with_columns(judged_alike).sort("source_row"), curated.height

    one, other = verdicts(raw), verdicts(shuffled)
    assert one[0].equals(other[0])
    assert one[1] == other[1]


@settings(max_examples=60, deadline=None)
@given(CAPTIONS)
def test_curating_the_curated_rejects_nothing(captions):
    curated, _ = curate_captions(table(captions), CURATION, SHARDS)
    again, rejected = curate_captions(curated.select(RAW_SCHEMA.names()), CURATION, SHARDS)
    assert again.equals(curated)
    assert rejected.is_empty()
