"""How unsafe the original image is, as the source says."""

from synthvlm_dagster.captions.rule import CarriedStatistic

RULE = CarriedStatistic("nsfw_score", label="unsafe content of the original image, where the source carries a score")
