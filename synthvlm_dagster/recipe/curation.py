"""Which captions are worth an image: the rules, their thresholds and their order (SynthVLM §3.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from synthvlm_dagster.recipe.languages import LANGUAGES
from synthvlm_dagster.recipe.section import Dtype, Location, ModelName, Section

JUDGE_QUESTION = (
    "You choose texts from which a text-to-image model will paint training pictures. A good text names things that can "
    "be seen, says how they look or where they stand, and is plain, correct English. A bad one is an advertisement, a "
    "file name, a list of key words, a fragment, or tells nothing that a picture could show.\n\n"
    "Text: {caption}\n\n"
    "Is this a good text to paint a picture from? Answer with one word: yes or no."
)


class Bounds(Section):
    """A closed interval in which a measured statistic must lie for the caption to be kept."""

    min: float | None = Field(None, description="Smallest value kept.", allow_inf_nan=False)
    max: float | None = Field(None, description="Largest value kept.", allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no caption could be kept")
        return self


class CountBounds(Bounds):
    """Bounds of a count, in [0, ∞)."""

    min: float | None = Field(None, description="Smallest value kept.", ge=0, allow_inf_nan=False)
    max: float | None = Field(None, description="Largest value kept.", ge=0, allow_inf_nan=False)


class RatioBounds(Bounds):
    """Bounds of a share or probability, in [0, 1]."""

    min: float | None = Field(None, description="Smallest value kept, in [0, 1].", ge=0, le=1)
    max: float | None = Field(None, description="Largest value kept, in [0, 1].", ge=0, le=1)


class MayBeUnmeasured(Section):
    """A rule whose statistic some captions cannot have, for want of an image for example."""

    if_not_measured: Literal["keep", "reject"] = Field(
        "keep",
        description="What becomes of a caption whose statistic cannot be measured; kept ones are listed in the column "
        "`not_measured`, and counted.",
    )


class CarriedScore(RatioBounds, MayBeUnmeasured):
    """Bounds of a score that the source's rows carry."""


class Language(Section):
    """The languages kept, as fastText's language identification (lid.176) names them."""

    keep: tuple[str, ...] = Field(
        ("en",), min_length=1, description="Codes of the languages kept: ISO 639-1, or 639-3 where there is none."
    )
    min_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Smallest probability of the language, in [0, 1]. Good English captions of a few words often score "
        "below 0.5; a text of which the model knows nothing is `en` at 0.12.",
    )

    @field_validator("keep")
    @classmethod
    def _can_be_recognized(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in codes if code not in LANGUAGES]
        if unknown:
            raise ValueError(f"there is no language {', '.join(unknown)}; codes are {', '.join(LANGUAGES)}")
        return codes


class Duplicates(Section):
    """When captions are the same; of those the first is kept."""

    method: Literal["exact", "near"] = Field(
        "exact",
        description="`exact`: equal after Unicode, case, punctuation and space folding; `near`: also those that share "
        "most of their pairs of neighbouring words, articles not counted (MinHash, then compared in full).",
    )
    similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        description="near: Jaccard similarity of the two captions' word pairs from which they are the same. At 0.8 one "
        "replaced word makes a near duplicate of a caption of 17 words or more, at 0.7 of 11; captions whose numbers, "
        "colours or sides differ are never the same.",
    )


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


class ImageTextSimilarity(Bounds, MayBeUnmeasured):
    """CLIP cosine of the caption with its original image: the source's own where it carries one, else measured."""

    min: float | None = Field(0.28, ge=-1, le=1, description="Smallest cosine kept, in [-1, 1].")
    max: float | None = Field(None, ge=-1, le=1, description="Largest cosine kept, in [-1, 1].")
    model: ModelName | None = Field(
        "ViT-B-32", description="open_clip architecture, hub model (hf-hub:…) or folder; null: measure nothing."
    )
    pretrained: str | None = Field("openai", description="open_clip weights tag; null for hub models and folders.")
    dtype: Dtype = Field("float32", description="Precision of the model.")
    batch_size: int = Field(64, ge=1, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")


class ImageTextMatching(RatioBounds, MayBeUnmeasured):
    """Probability that the caption fits its original image, by BLIP's image-text matching head."""

    min: float | None = Field(0.8, ge=0, le=1, description="Smallest probability kept, in [0, 1].")
    model: ModelName = Field("Salesforce/blip-itm-base-coco", description="Hub id or folder of a BLIP retrieval model.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    dtype: Dtype = Field("float32", description="Precision of the model.")
    batch_size: int = Field(32, ge=1, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")


class Judge(MayBeUnmeasured):
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
        return _with_caption_place(question)


class KeepTop(MayBeUnmeasured):
    """Only the captions that fit their original image best, by image_text_similarity (SynthVLM §3.1)."""

    share: float = Field(0.4, gt=0, le=1, description="Share kept of the captions that have a similarity, in (0, 1].")


class CurationRules(Section):
    """The rules in the order in which they are asked; the first that rejects a caption is named.

    A rule set to null is switched off. Defaults are Table 1 of SynthVLM's supplementary material (arXiv 2407.20756),
    as far as it needs neither a model nor the original image.
    """

    text_length: CountBounds | None = Field(None, description="Length of the caption in code points (no template).")
    num_words: CountBounds | None = Field(None, description="Number of words of the caption (no template).")
    alnum_ratio: RatioBounds | None = Field(
        RatioBounds(min=0.60), description="Share of code points that are letters or digits, in [0, 1]."
    )
    special_char_ratio: RatioBounds | None = Field(
        RatioBounds(min=0.16534802, max=0.42023757),
        description="Share of punctuation, digits, whitespace, emoji and symbols, in [0, 1].",
    )
    flagged_words_ratio: RatioBounds | None = Field(
        RatioBounds(max=0.0), description="Share of words on the flagged-words list, in [0, 1]."
    )
    word_rep_ratio: RatioBounds | None = Field(
        RatioBounds(max=0.03085751), description="Share of repeated word 10-grams, in [0, 1]."
    )
    char_rep_ratio: RatioBounds | None = Field(
        RatioBounds(max=0.09373663), description="Share of the most repeated character 10-grams, in [0, 1]."
    )
    watermark_score: CarriedScore | None = Field(
        None, description="The source's own score of a watermark in the original image, in [0, 1]."
    )
    nsfw_score: CarriedScore | None = Field(
        None, description="The source's own score of unsafe content in the original image, in [0, 1]."
    )
    language: Language | None = Field(None, description="Languages kept; in the extra `language`.")
    image_text_similarity: ImageTextSimilarity | None = Field(
        None, description="CLIP cosine with the original image; the paper keeps ≥ 0.28."
    )
    duplicates: Duplicates | None = Field(Duplicates(), description="When captions are the same.")
    perplexity: Perplexity | None = Field(None, description="The paper keeps ≤ 5500.")
    image_text_matching: ImageTextMatching | None = Field(
        None, description="BLIP's matching with the original image; the paper keeps ≥ 0.8."
    )
    judge: Judge | None = Field(None, description="A language model's yes or no, in the extra `judge`.")
    keep_top: KeepTop | None = Field(None, description="The best share by image_text_similarity; the paper keeps 40 %.")

    @model_validator(mode="after")
    def _has_what_keep_top_ranks_by(self) -> CurationRules:
        if self.keep_top and not self.image_text_similarity:
            raise ValueError(
                "keep_top ranks by image_text_similarity, which is off; switch it on (min: null keeps all)"
            )
        return self


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
        return _with_caption_place(template)

    @field_validator("order")
    @classmethod
    def _names_rules(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        known = list(CurationRules.model_fields)
        unknown = [name for name in order if name not in known]
        if unknown:
            raise ValueError(f"there is no rule {', '.join(unknown)}; rules are {', '.join(known)}")
        if repeated := sorted({name for name in order if order.count(name) > 1}):
            raise ValueError(f"names {', '.join(repeated)} more than once")
        return order

    @model_validator(mode="after")
    def _ranks_what_is_measured(self) -> Curation:
        order = self.rule_order
        if self.rules.keep_top and order.index("keep_top") < order.index("image_text_similarity"):
            raise ValueError("order: keep_top ranks by image_text_similarity and must come after it")
        return self

    @property
    def rule_order(self) -> list[str]:
        """Names of all rules in the order in which they are asked, those switched off included."""
        return [*self.order, *(name for name in CurationRules.model_fields if name not in self.order)]


def _with_caption_place(text: str) -> str:
    if "{caption}" not in text:
        raise ValueError("must contain {caption}, the place where the caption goes")
    return text
