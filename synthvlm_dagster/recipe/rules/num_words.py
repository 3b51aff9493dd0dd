"""How many words captions may have."""

from synthvlm_dagster.recipe.rule import CountBounds, RuleSetting

RULE = RuleSetting(
    name="num_words",
    section=CountBounds,
    description="Number of words of the caption (no template).",
    place=20,
)
