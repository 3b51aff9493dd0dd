"""Every rule and every format is found in its folder, in the documented order, and says what it is."""

import polars as pl
import pytest

from synthvlm_dagster.captions.all_captions import AllCaptions
from synthvlm_dagster.captions.formats import FORMATS
from synthvlm_dagster.captions.rule import Column, DataJuicerStatistic, TextStatistic
from synthvlm_dagster.captions.rules import COSTLY_RULES, RULES, TEMPLATE_RULES
from synthvlm_dagster.captions.text_statistics import STATISTICS
from synthvlm_dagster.captions.verdicts import Verdicts
from synthvlm_dagster.recipe import Curation, CurationRules
from synthvlm_dagster.recipe.formats import FORMAT_SETTINGS
from synthvlm_dagster.recipe.rule import RatioBounds
from synthvlm_dagster.recipe.rules import RULE_SETTINGS
from synthvlm_dagster.store.temporary_table import TemporaryTable

ORDER = [
    *("text_length", "num_words", "alnum_ratio", "special_char_ratio", "flagged_words_ratio", "word_rep_ratio"),
    *("char_rep_ratio", "watermark_score", "nsfw_score", "language", "image_text_similarity", "duplicates"),
    *("perplexity", "image_text_matching", "judge", "keep_top"),
]
VOWELS = TextStatistic(
    "vowels",
    label="vowels",
    column=Column(pl.Float64(), "Vowels / code points, in [0, 1]."),
    measure=lambda texts: texts.str.count_matches("[aeiou]") / texts.str.len_chars(),
)


def test_rules_are_asked_in_their_documented_order():
    assert list(RULES) == list(RULE_SETTINGS) == list(CurationRules.model_fields) == Curation().rule_order == ORDER
    assert len({setting.place for setting in RULE_SETTINGS.values()}) == len(ORDER)
    assert COSTLY_RULES == ("image_text_similarity", "perplexity", "image_text_matching", "judge")
    assert tuple(name for name in ORDER if name.endswith("_ratio")) == TEMPLATE_RULES


def test_the_statistics_that_are_measured_in_one_pass_are_those_of_rules():
    assert {name for name, rule in RULES.items() if isinstance(rule, DataJuicerStatistic)} == set(STATISTICS)


def test_a_rule_judges_by_a_column_that_it_describes():
    carried = {"watermark_score", "nsfw_score"}
    for name, rule in RULES.items():
        assert rule.label
        assert rule.statistic is None or rule.statistic in rule.columns or name in carried


def test_the_more_particular_format_is_asked_first():
    order = list(FORMATS)
    assert order == list(FORMAT_SETTINGS)
    for first, then in (
        *(("llava", "synthvlm"), ("llava", "jsonl"), ("coco", "jsonl"), ("sbu", "jsonl")),
        *(("partiprompts", "cc3m"), ("cc3m", "tsv"), ("cc12m", "tsv")),
        *(("laion-coco", "laion"), ("coyo", "parquet"), ("laion", "parquet"), ("datacomp", "parquet")),
    ):
        assert order.index(first) < order.index(then), (first, then)


def test_a_rule_without_settings_in_the_recipe_is_refused():
    with pytest.raises(ImportError, match="the rule vowels has a file in captions/rules, but none in recipe/rules"):
        _ = VOWELS.place


def test_a_rule_may_measure_texts_by_a_function_of_its_own():
    measured = VOWELS.read(pl.Series(["aeiou", "xxxx", "ab"]))
    assert measured.to_dict(as_series=False) == {"vowels": [1.0, 0.0, 0.5]}
    bounds = RatioBounds(min=0.2, max=0.6)
    captions = AllCaptions(TemporaryTable(), Verdicts(3), {}, print)
    broken, unmeasured = VOWELS.judge(VOWELS.note(measured, bounds), captions, bounds)
    assert broken.tolist() == [True, True, False]
    assert unmeasured is None
    assert VOWELS.kept_text(bounds) == "0.2–0.6"
