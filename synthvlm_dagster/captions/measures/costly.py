"""What each costly rule of a recipe is measured with."""

from __future__ import annotations

from synthvlm_dagster.captions.curate import COSTLY_RULES
from synthvlm_dagster.captions.measures.measurements import Measure, MeasurementStore
from synthvlm_dagster.recipe import Curation
from synthvlm_dagster.store.storage import Storage


def measurement_stores(curation: Curation, storage: Storage) -> dict[str, MeasurementStore]:
    """The values of every costly rule that is on, by name of the rule; models are loaded when they are needed.

    Raises:
        SynthVLMError: a model's files are not there, or an extra of the package is not installed.
    """
    measures = [measure for rule in COSTLY_RULES if (measure := costly_measure(rule, curation))]
    return {measure.name: MeasurementStore(storage, measure) for measure in measures}


def costly_measure(rule: str, curation: Curation) -> Measure | None:
    """What gives a costly rule its statistic; None when the rule is off, or only uses what the sources carry.

    Args:
        rule: one of `COSTLY_RULES`.
        curation: the recipe's curation.

    Raises:
        SynthVLMError: the model's files are not there, or an extra of the package is not installed.
    """
    rules = curation.rules
    if rule == "image_text_similarity" and rules.image_text_similarity and rules.image_text_similarity.model:
        from synthvlm_dagster.captions.measures.image_text_similarity import ClipSimilarity

        return ClipSimilarity(rules.image_text_similarity)
    if rule == "perplexity" and rules.perplexity:
        from synthvlm_dagster.captions.measures.perplexity import perplexity_measure

        return perplexity_measure(rules.perplexity, curation.text_template)
    if rule == "image_text_matching" and rules.image_text_matching:
        from synthvlm_dagster.captions.measures.image_text_matching import BlipMatching

        return BlipMatching(rules.image_text_matching)
    if rule == "judge" and rules.judge:
        from synthvlm_dagster.captions.measures.llm_judge import LlmJudge

        return LlmJudge(rules.judge)
    return None
