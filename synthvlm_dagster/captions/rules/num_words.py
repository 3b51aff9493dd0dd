"""How many words captions may have."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("num_words", label="words")
