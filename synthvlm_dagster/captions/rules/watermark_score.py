"""How likely the original image has a watermark, as the source says."""

from synthvlm_dagster.captions.rule import CarriedStatistic

RULE = CarriedStatistic("watermark_score", label="a watermark in the original image, where the source carries a score")
