"""VQAScore (Lin et al., arXiv 2404.01291)."""

from __future__ import annotations

from pydantic import Field, field_validator

from synthvlm_dagster.recipe.judge import JudgeSetting
from synthvlm_dagster.recipe.section import Dtype, ModelName, Section

VQA_QUESTION = 'Does this figure show "{caption}"? Please answer yes or no.'


class VqaJudge(Section):
    """VQAScore (arXiv 2404.01291): the probability that a vision-language model answers "Yes" about the caption."""

    model: ModelName = Field(description="Hub id or folder of an image-text-to-text model of transformers.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    question: str = Field(VQA_QUESTION, description="What is asked; `{caption}` is the caption's place.")
    answer: str = Field("Yes", min_length=1, description="The answer whose first token's probability is the score.")
    dtype: Dtype = Field("float32", description="Precision of the model.")
    batch_size: int = Field(8, ge=1, description="Images that the model looks at together.")

    @field_validator("question")
    @classmethod
    def _holds_the_caption(cls, question: str) -> str:
        if "{caption}" not in question:
            raise ValueError("must contain {caption}, the place where the caption goes")
        return question


JUDGE = JudgeSetting(
    name="vqa",
    section=VqaJudge,
    label="VQAScore",
    measures="probability that a vision-language model finds the caption in the image, in [0, 1]",
    place=20,
    lowest=0.0,
    highest=1.0,
    speed_settings=frozenset({"batch_size"}),
)
