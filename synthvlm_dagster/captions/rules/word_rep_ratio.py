"""How much a caption repeats its words."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("word_rep_ratio", label="repeated 10-grams of words", in_template=True)
