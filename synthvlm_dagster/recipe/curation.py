"""Which captions are worth an image: the rules, their thresholds and their order (SynthVLM §3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model, field_validator, model_validator

from synthvlm_dagster.recipe.rule import with_caption_place
from synthvlm_dagster.recipe.rules import RULE_SETTINGS
from synthvlm_dagster.recipe.section import Location, Section


class _Rules(Section):
    """The rules in the order in which they are asked; the first that rejects a caption is named.

    A rule set to null is switched off. Defaults are Table 1 of SynthVLM's supplementary material (arXiv 2407.20756),
    as far as it needs neither a model nor the original image.
    """

    if TYPE_CHECKING:

        def __getattr__(self, rule: str) -> Any: ...

    def __getitem__(self, rule: str) -> Any:
        """Settings of a rule, given by its name; None where it is off.

        Raises:
            KeyError: there is no such rule.
        """
        if rule not in RULE_SETTINGS:
            raise KeyError(rule)
        return getattr(self, rule)

    @property
    def on(self) -> Iterator[str]:
        """Names of the rules that are on, in their usual order."""
        return (rule for rule in RULE_SETTINGS if self[rule] is not None)

    @model_validator(mode="after")
    def _have_what_they_rank_by(self) -> _Rules:
        for name in self.on:
            statistic = RULE_SETTINGS[name].ranks_by
            if statistic and not self[statistic]:
                raise ValueError(f"{name} ranks by {statistic}, which is off; switch it on (min: null keeps all)")
        return self


if TYPE_CHECKING:

    class CurationRules(_Rules):
        """See `_Rules`."""

        def __init__(self, **rules: Any) -> None: ...

else:
    CurationRules = create_model(
        "CurationRules",
        __base__=_Rules,
        __module__=__name__,
        __doc__=_Rules.__doc__,
        **{
            name: (rule.section | None, Field(rule.default, description=rule.description))
            for name, rule in RULE_SETTINGS.items()
        },
    )


class Curation(Section):
    """Which captions are worth an image (SynthVLM §3.1)."""

    text_template: str = Field(
        "<image>\n{caption} <|__dj__eoc|>",
        description="The text that the ratio rules and KenLM measure; the paper's thresholds were set on Data-Juicer's "
        "multimodal wrapping of a caption. `{caption}` measures the bare caption.",
    )
    rules: CurationRules = Field(default_factory=CurationRules)
    order: tuple[str, ...] = Field(
        (), description="Rules to ask first, in this order; the others follow in their usual order, cheap ones first."
    )
    flagged_words: Location | None = Field(
        None, description="File or URL of flagged words, one a line or a JSON list; null: the built-in English list."
    )

    @field_validator("text_template")
    @classmethod
    def _holds_the_caption(cls, template: str) -> str:
        return with_caption_place(template)

    @field_validator("order")
    @classmethod
    def _names_rules(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in order if name not in RULE_SETTINGS]
        if unknown:
            raise ValueError(f"there is no rule {', '.join(unknown)}; rules are {', '.join(RULE_SETTINGS)}")
        if repeated := sorted({name for name in order if order.count(name) > 1}):
            raise ValueError(f"names {', '.join(repeated)} more than once")
        return order

    @model_validator(mode="after")
    def _ranks_what_is_measured(self) -> Curation:
        order = self.rule_order
        for name in self.rules.on:
            statistic = RULE_SETTINGS[name].ranks_by
            if statistic and order.index(name) < order.index(statistic):
                raise ValueError(f"order: {name} ranks by {statistic} and must come after it")
        return self

    @property
    def rule_order(self) -> list[str]:
        """Names of all rules in the order in which they are asked, those switched off included."""
        return [*self.order, *(name for name in RULE_SETTINGS if name not in self.order)]
