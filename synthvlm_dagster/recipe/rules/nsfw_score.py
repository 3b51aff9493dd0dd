"""How unsafe the original image is, as the source says."""

from synthvlm_dagster.recipe.rule import CarriedScore, RuleSetting

RULE = RuleSetting(
    name="nsfw_score",
    section=CarriedScore,
    description="The source's own score of unsafe content in the original image, in [0, 1].",
    place=90,
)
