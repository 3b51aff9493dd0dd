"""How likely the original image has a watermark, as the source says."""

from synthvlm_dagster.recipe.rule import CarriedScore, RuleSetting

RULE = RuleSetting(
    name="watermark_score",
    section=CarriedScore,
    description="The source's own score of a watermark in the original image, in [0, 1].",
    place=80,
)
