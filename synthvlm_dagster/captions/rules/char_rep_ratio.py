"""How much a caption repeats its characters."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("char_rep_ratio", label="the most repeated 10-grams of characters", in_template=True)
