"""What a language model says of a caption (LLM-as-a-judge)."""

from __future__ import annotations

from synthvlm_dagster.captions.measures.measurements import Measure, MeasurementStore
from synthvlm_dagster.captions.rule import CostlyRule
from synthvlm_dagster.models.availability import Availability
from synthvlm_dagster.recipe import Bounds, Curation, LlmJudge


class LlmJudgeRule(CostlyRule[LlmJudge]):
    """Keeps captions to which a language model says yes."""

    def measure(self, curation: Curation) -> Measure | None:
        """See `CostlyRule`."""
        from synthvlm_dagster.captions.measures.llm_judge import LlmVerdicts

        settings = curation.rules[self.name]
        return LlmVerdicts(settings) if settings else None

    def bounds(self, settings: LlmJudge) -> Bounds:
        """1 is yes."""
        return Bounds(min=1.0)

    def kept_text(self, settings: LlmJudge) -> str:
        """Yes."""
        return "yes"

    def costs(self, store: MeasurementStore, settings: LlmJudge) -> dict[str, float]:
        """What the answers cost, at the recipe's prices."""
        from synthvlm_dagster.captions.measures.llm_judge import judge_cost

        return {
            "judge_cost_dollars": judge_cost(**store.spent, rule=settings),
            "judge_cost_dollars_so_far": judge_cost(**store.spent_so_far(), rule=settings),
        }

    def preflight(self, curation: Curation) -> Availability:
        """See `Rule`; the endpoint is not asked."""
        settings = curation.rules[self.name]
        return Availability("unknown", f"{settings.model} at {settings.base_url} (not asked)")


RULE = LlmJudgeRule(
    "judge",
    label="a yes or no of any OpenAI-compatible endpoint, extra `judge`",
    description="What the language model said of the caption: 1 for yes, 0 for no.",
)
