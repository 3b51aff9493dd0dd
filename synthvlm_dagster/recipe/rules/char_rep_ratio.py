"""How much a caption repeats its characters."""

from synthvlm_dagster.recipe.rule import RatioBounds, RuleSetting

RULE = RuleSetting(
    name="char_rep_ratio",
    section=RatioBounds,
    description="Share of the most repeated character 10-grams, in [0, 1].",
    place=70,
    default=RatioBounds(max=0.09373663),
)
