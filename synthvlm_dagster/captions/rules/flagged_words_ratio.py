"""How many of a caption's words are on the list of flagged words."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("flagged_words_ratio", label="words on a list (`curation.flagged_words`)", in_template=True)
