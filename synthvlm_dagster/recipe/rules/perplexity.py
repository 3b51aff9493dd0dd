"""How surprising a language model finds a caption."""

from __future__ import annotations

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.rule import CountBounds, MayBeUnmeasured, RuleSetting
from synthvlm_dagster.recipe.section import Dtype, Location, ModelName, Section


class KenLm(Section):
    """A KenLM n-gram model over SentencePiece pieces, as Data-Juicer measures: the caption inside its text_template."""

    model: Location = Field(
        description="ARPA or binary file of the n-gram model, e.g. en.arpa.bin; a URL is fetched once."
    )
    sentencepiece: Location = Field(description="SentencePiece model file, e.g. en.sp.model.")


class CausalLm(Section):
    """A causal language model of transformers, which measures the bare caption."""

    model: ModelName = Field(description="Hub id or folder.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    dtype: Dtype = Field("float32", description="Precision of weights and maths.")
    batch_size: int = Field(64, ge=1, description="Captions measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")


class Perplexity(CountBounds, MayBeUnmeasured):
    """How surprising a language model finds the caption. Give one of kenlm and causal_lm."""

    max: float | None = Field(5500.0, gt=0, allow_inf_nan=False, description="Largest perplexity kept.")
    kenlm: KenLm | None = Field(None, description="Data-Juicer's measure, in the extra `perplexity`.")
    causal_lm: CausalLm | None = Field(None, description="Perplexity under a transformers model.")

    @model_validator(mode="after")
    def _one_model(self) -> Perplexity:
        if (self.kenlm is None) == (self.causal_lm is None):
            raise ValueError("give exactly one of kenlm (an n-gram model) and causal_lm (a transformers model)")
        return self


RULE = RuleSetting(
    name="perplexity", section=Perplexity, description="The paper keeps ≤ 5500.", place=130, needs=frozenset({"model"})
)
