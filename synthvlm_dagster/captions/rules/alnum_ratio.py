"""How much of a caption is letters and digits."""

from synthvlm_dagster.captions.rule import DataJuicerStatistic

RULE = DataJuicerStatistic("alnum_ratio", label="letters and digits", in_template=True)
