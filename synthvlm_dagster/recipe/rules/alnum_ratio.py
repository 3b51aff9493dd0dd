"""How much of a caption is letters and digits."""

from synthvlm_dagster.recipe.rule import RatioBounds, RuleSetting

RULE = RuleSetting(
    name="alnum_ratio",
    section=RatioBounds,
    description="Share of code points that are letters or digits, in [0, 1].",
    place=30,
    default=RatioBounds(min=0.60),
)
