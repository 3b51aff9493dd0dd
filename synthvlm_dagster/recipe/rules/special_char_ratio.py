"""How much of a caption is punctuation, digits, white space and symbols."""

from synthvlm_dagster.recipe.rule import RatioBounds, RuleSetting

RULE = RuleSetting(
    name="special_char_ratio",
    section=RatioBounds,
    description="Share of punctuation, digits, whitespace, emoji and symbols, in [0, 1].",
    place=40,
    default=RatioBounds(min=0.16534802, max=0.42023757),
)
