"""How long captions may be."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("text_length", label="code points")
