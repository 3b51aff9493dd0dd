"""Rules that are asked late: costly ones, those on scores the source carries, and the best share."""

import polars as pl
import pytest

from synthvlm_dagster.captions.curate import Curator, curate_captions
from synthvlm_dagster.captions.measures.measurements import MeasurementStore
from synthvlm_dagster.captions.readers import RAW_SCHEMA
from synthvlm_dagster.captions.rules import TEMPLATE_RULES
from synthvlm_dagster.recipe import Curation, CurationRules
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.captions.measures.counting import VowelShare, vowel_share
from synthvlm_dagster_tests.captions.raw import SHARDS, raw_table

TEXTS = ["ooo", "bcd", "oob", "room b7b", "bcdo", None]
ONLY = dict.fromkeys(TEMPLATE_RULES)


def curation(order=(), **rules):
    return Curation(rules=CurationRules(**{**ONLY, **rules}), order=order)


def verdicts(raw, settings, storage, **measures):
    stores = {name: MeasurementStore(storage, measure) for name, measure in measures.items()}
    curated, rejected = curate_captions(raw, settings, SHARDS, stores)
    both = pl.concat([curated, rejected], how="diagonal").sort("source_row")
    return both, dict(zip(both["text"], both["rejected_by"], strict=True))


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path))


PERPLEXITY = {"max": 0.5, "kenlm": {"model": "m", "sentencepiece": "s"}}


def test_a_costly_rule_is_asked_about_what_the_others_keep(storage):
    measure = VowelShare()
    table, by_text = verdicts(
        raw_table(TEXTS),
        curation(text_length={"max": 9}, num_words={"max": 1}, perplexity=PERPLEXITY),
        storage,
        perplexity=measure,
    )
    assert measure.asked == ["ooo", "bcd", "oob", "bcdo"]
    assert by_text == {
        "ooo": "perplexity",
        "bcd": None,
        "oob": "perplexity",
        "room b7b": "num_words",
        "bcdo": None,
        None: "unreadable_row",
    }
    assert table["perplexity"].to_list() == [1.0, 0.0, vowel_share("oob"), None, 0.25, None]


@pytest.mark.parametrize("verdict", ["keep", "reject"])
def test_what_cannot_be_measured_is_listed_and_kept_or_rejected(storage, verdict):
    settings = curation(perplexity={**PERPLEXITY, "if_not_measured": verdict})
    table, by_text = verdicts(raw_table(TEXTS), settings, storage, perplexity=VowelShare())
    assert by_text["room b7b"] == (None if verdict == "keep" else "perplexity")
    assert table["not_measured"].to_list() == [[], [], [], ["perplexity"], [], []]


def test_a_costly_rule_put_first_is_asked_about_everything_readable(storage):
    measure = VowelShare()
    settings = curation(order=["perplexity"], num_words={"max": 1}, perplexity=PERPLEXITY)
    _, by_text = verdicts(raw_table(TEXTS), settings, storage, perplexity=measure)
    assert measure.asked == TEXTS[:-1]
    assert by_text["ooo"] == "perplexity"
    assert by_text["room b7b"] == "num_words"


def test_the_order_decides_which_rule_is_named(storage):
    texts = ["oo oo", "oo oo!"]
    rules = {"num_words": {"max": 1}, "perplexity": PERPLEXITY}
    for order, expected in (
        ((), ["num_words", "num_words"]),
        (("perplexity",), ["perplexity", "perplexity"]),
        (("duplicates", "perplexity"), ["perplexity", "duplicates"]),
    ):
        table, _ = verdicts(raw_table(texts), curation(order, **rules), storage, perplexity=VowelShare())
        assert table["rejected_by"].to_list() == expected, order


def test_the_judge_keeps_what_it_says_yes_to(storage):
    class Yes(VowelShare):
        def measure(self, captions, on_progress):
            for part in super().measure(captions, on_progress):
                yield part.with_columns(value=(pl.col("value") > 0.5).cast(pl.Float64))

    judge = {"base_url": "http://localhost", "model": "m"}
    table, by_text = verdicts(raw_table(TEXTS), curation(judge=judge), storage, judge=Yes("judge"))
    assert [text for text, rule in by_text.items() if rule is None] == ["ooo", "oob", "room b7b"]
    assert table["judge"].to_list() == [1.0, 0.0, 1.0, None, 0.0, None]


def with_scores(**columns):
    raw = raw_table([f"a dog number {word}" for word in ("one", "two", "three", "four", "five")])
    return raw.with_columns(pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items()).cast(
        dict(RAW_SCHEMA)
    )


def test_scores_of_the_source_are_used_as_they_are(storage):
    raw = with_scores(watermark_score=[0.1, 0.9, None, 0.5, None], nsfw_score=[0.9, 0.0, 0.0, None, None])
    rules = {"watermark_score": {"max": 0.5}, "nsfw_score": {"max": 0.5, "if_not_measured": "reject"}}
    table, _ = verdicts(raw, curation(**rules), storage)
    assert table["rejected_by"].to_list() == ["nsfw_score", "watermark_score", None, "nsfw_score", "nsfw_score"]
    assert table["not_measured"].to_list() == [
        [],
        [],
        ["watermark_score"],
        ["nsfw_score"],
        ["watermark_score", "nsfw_score"],
    ]


def test_similarity_is_measured_only_where_the_source_has_none(storage):
    raw = with_scores(clip_similarity=[0.5, 0.1, None, None, None])
    measure = VowelShare("image_text_similarity")
    settings = curation(image_text_similarity={"min": 0.4})
    table, _ = verdicts(raw, settings, storage, image_text_similarity=measure)
    assert measure.asked == raw["text"].to_list()[2:]
    assert table["rejected_by"].to_list()[:2] == [None, "image_text_similarity"]
    assert table["image_text_similarity"].to_list() == [0.5, 0.1, *map(vowel_share, measure.asked)]


def test_without_a_model_similarity_is_the_sources_or_not_measured(storage):
    raw = with_scores(clip_similarity=[0.5, 0.1, None, None, 0.28])
    table, _ = verdicts(raw, curation(image_text_similarity={"min": 0.28, "model": None}), storage)
    assert table["rejected_by"].to_list() == [None, "image_text_similarity", None, None, None]
    assert table["not_measured"].to_list() == [[], [], ["image_text_similarity"], ["image_text_similarity"], []]


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.01, [2, 4]), (0.4, [1, 2, 4]), (0.5, [1, 2, 4]), (0.75, [1, 2, 3, 4]), (1.0, [0, 1, 2, 3, 4])],
)
def test_the_best_share_by_similarity_is_kept_and_what_has_none(storage, share, kept):
    raw = with_scores(clip_similarity=[0.1, 0.3, 0.5, 0.3, None])
    settings = curation(image_text_similarity={"min": None, "model": None}, keep_top={"share": share})
    table, _ = verdicts(raw, settings, storage)
    assert [place for place, rule in enumerate(table["rejected_by"]) if rule is None] == kept
    assert table["not_measured"].to_list()[4] == ["image_text_similarity", "keep_top"]


def test_the_share_kept_is_the_decimal_number_of_the_recipe(storage):
    raw = raw_table([f"a dog numbered {number} on the beach" for number in range(100)])
    raw = raw.with_columns(clip_similarity=pl.int_range(100) / 100)
    settings = curation(image_text_similarity={"min": None, "model": None}, keep_top={"share": 0.55})
    table, _ = verdicts(raw, settings, storage)
    assert [place for place, rule in enumerate(table["rejected_by"]) if rule is None] == list(range(45, 100))


def test_the_bare_and_the_wrapped_text_are_both_counted():
    texts = ["a brown dog on a beach", "abc " * 12, "Zebras everywhere today", None]
    for template in ("{caption}", Curation().text_template):
        curator = Curator(Curation(text_template=template), SHARDS)
        list(curator.split([raw_table(texts)]))
        assert next(iter(curator.kept_by_template)) == template
        assert curator.rows == 4
        # Two spaces are too few special characters for the bare caption; the template brings more.
        assert curator.kept_by_template == {"{caption}": 1, Curation().text_template: 2}


def test_parts_are_judged_like_one_table():
    texts = [f"a dog number {number % 7} runs along the beach" for number in range(40)]
    raw = raw_table(texts)
    whole, others = curate_captions(raw, Curation(), SHARDS)
    parts = list(Curator(Curation(), SHARDS).split(raw.iter_slices(6)))
    assert pl.concat(kept for kept, _ in parts).equals(whole)
    assert pl.concat(rejected for _, rejected in parts).equals(others)
    assert whole.height == 7
