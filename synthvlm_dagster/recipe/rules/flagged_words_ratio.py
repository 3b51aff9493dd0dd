"""How many of a caption's words are on the list of flagged words."""

from synthvlm_dagster.recipe.rule import RatioBounds, RuleSetting

RULE = RuleSetting(
    name="flagged_words_ratio",
    section=RatioBounds,
    description="Share of words on the flagged-words list, in [0, 1].",
    place=50,
    default=RatioBounds(max=0.0),
)
