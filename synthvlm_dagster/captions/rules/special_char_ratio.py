"""How much of a caption is punctuation, digits, white space and symbols."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("special_char_ratio", label="punctuation, digits, white space, symbols", in_template=True)
