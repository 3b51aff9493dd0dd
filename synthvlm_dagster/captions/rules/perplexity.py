"""How surprising a language model finds a caption."""

from __future__ import annotations

from synthvlm_dagster.captions.measures.measurements import Measure
from synthvlm_dagster.captions.rule import CostlyRule
from synthvlm_dagster.models.availability import Availability, models_available
from synthvlm_dagster.recipe import Bounds, Curation, Perplexity


class PerplexityRule(CostlyRule[Perplexity]):
    """Keeps captions by their perplexity under a KenLM model or a causal language model."""

    def measure(self, curation: Curation) -> Measure | None:
        """See `CostlyRule`."""
        from synthvlm_dagster.captions.measures.perplexity import perplexity_measure

        settings = curation.rules[self.name]
        return perplexity_measure(settings, curation.text_template) if settings else None

    def bounds(self, settings: Perplexity) -> Bounds:
        """The recipe's."""
        return settings

    def preflight(self, curation: Curation) -> Availability:
        """See `Rule`."""
        self.measure(curation)
        settings = curation.rules[self.name]
        return models_available([(settings.kenlm or settings.causal_lm).model])


RULE = PerplexityRule(
    "perplexity",
    label="KenLM with SentencePiece (extra `perplexity`), or any causal model of transformers",
    paper="≤ 5500",
    description="Perplexity under the recipe's language model.",
)
