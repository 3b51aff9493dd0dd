"""How long captions may be."""

from synthvlm_dagster.recipe.rule import CountBounds, RuleSetting

RULE = RuleSetting(
    name="text_length",
    section=CountBounds,
    description="Length of the caption in code points (no template).",
    place=10,
)
