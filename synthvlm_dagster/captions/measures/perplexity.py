"""Which language model tells how surprising a caption is."""

from __future__ import annotations

from synthvlm_dagster.captions.measures.causal_lm_perplexity import CausalLmPerplexity
from synthvlm_dagster.captions.measures.kenlm_perplexity import KenLmPerplexity
from synthvlm_dagster.captions.measures.measurements import Measure
from synthvlm_dagster.recipe import Perplexity


def perplexity_measure(rule: Perplexity, template: str | None = None) -> Measure:
    """The measure that the rule names; its model is loaded when the first caption is measured.

    Args:
        rule: names a KenLM model or a causal language model of transformers.
        template: text that holds `{caption}`, which KenLM measures, see `KenLmPerplexity`. A causal language model
            measures the bare caption: the paper's threshold is KenLM's, and the marks of a wrapping would only make
            short captions look surprising.

    Raises:
        ModelError: a local model is missing or not of the kind that the rule names, or the extra `perplexity` is not
            installed.
    """
    if rule.kenlm:
        return KenLmPerplexity(rule.kenlm, template)
    if rule.causal_lm:
        return CausalLmPerplexity(rule.causal_lm)
    raise ValueError("the rule names no model")
