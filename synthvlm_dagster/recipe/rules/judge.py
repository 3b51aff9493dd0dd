"""What a language model says of a caption (LLM-as-a-judge)."""

from __future__ import annotations

from pydantic import Field, field_validator

from synthvlm_dagster.recipe.rule import MayBeUnmeasured, RuleSetting, with_caption_place

JUDGE_QUESTION = (
    "You choose texts from which a text-to-image model will paint training pictures. A good text names things that can "
    "be seen, says how they look or where they stand, and is plain, correct English. A bad one is an advertisement, a "
    "file name, a list of key words, a fragment, or tells nothing that a picture could show.\n\n"
    "Text: {caption}\n\n"
    "Is this a good text to paint a picture from? Answer with one word: yes or no."
)


class LlmJudge(MayBeUnmeasured):
    """A language model behind an OpenAI-compatible endpoint that answers yes or no about each caption."""

    base_url: str = Field(description="URL of the endpoint, e.g. http://localhost:8000/v1.")
    model: str = Field(description="The model's name at the endpoint; the paper's is Llama-3-70B-Instruct.")
    question: str = Field(JUDGE_QUESTION, description="What is asked; `{caption}` is the caption's place.")
    api_key_variable: str = Field(
        "OPENAI_API_KEY", description="Environment variable that holds the key; may be unset for a local server."
    )
    concurrency: int = Field(8, ge=1, le=1000, description="Requests under way at the same time.")
    requests_per_minute: float | None = Field(None, gt=0, description="Most requests sent in a minute; null: no limit.")
    max_retries: int = Field(5, ge=0, description="How often a request that failed for a passing reason is sent again.")
    timeout_seconds: float = Field(60.0, gt=0, description="How long to wait for an answer.")
    max_tokens: int = Field(5, ge=1, description="Longest answer.")
    price_per_million_input_tokens: float = Field(0.0, ge=0, description="For the cost in the metadata, in dollars.")
    price_per_million_output_tokens: float = Field(0.0, ge=0, description="For the cost in the metadata, in dollars.")

    @field_validator("base_url")
    @classmethod
    def _is_web_address(cls, base_url: str) -> str:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"{base_url} does not begin with http:// or https://; write e.g. http://localhost:8000/v1")
        return base_url

    @field_validator("question")
    @classmethod
    def _holds_the_caption(cls, question: str) -> str:
        return with_caption_place(question)


RULE = RuleSetting(
    name="judge",
    section=LlmJudge,
    description="A language model's yes or no, in the extra `judge`.",
    place=150,
    needs=frozenset({"money"}),
)
