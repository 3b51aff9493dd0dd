"""How much a caption repeats its words."""

from synthvlm_dagster.recipe.rule import RatioBounds, RuleSetting

RULE = RuleSetting(
    name="word_rep_ratio",
    section=RatioBounds,
    description="Share of repeated word 10-grams, in [0, 1].",
    place=60,
    default=RatioBounds(max=0.03085751),
)
