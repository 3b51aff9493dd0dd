"""How images are measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from synthvlm_dagster.recipe.curation import Dtype
from synthvlm_dagster.recipe.section import Location, ModelName, Section

VQA_QUESTION = 'Does this figure show "{caption}"? Please answer yes or no.'


class ClipScoring(Section):
    """The CLIP model that measures how well an image shows its caption."""

    model: ModelName = Field(
        "ViT-B-32", description="open_clip architecture name, hub model (hf-hub:…), folder, or package://module/path."
    )
    pretrained: str | None = Field("openai", description="open_clip weights tag; null for hub models and folders.")
    prompt_prefix: str = Field("A photo depicts ", description="Text put before each caption (CLIPScore, 2104.08718).")
    dtype: Dtype = Field("float32", description="Precision of the CLIP model.")


class SsimScoring(Section):
    """Structural similarity of an image with itself after a round trip through a smaller size (SynthVLM, eq. 3)."""

    reduced_size: int | None = Field(
        None,
        ge=7,
        le=8192,
        description="Side in pixels of the small square; null: 336/1024 of the images' shorter side, which for the "
        "paper's 1024 pixels is 336, LLaVA's vision tower.",
    )
    channels: Literal["gray", "rgb"] = Field("gray", description="Compare luma, or the mean over R, G and B.")
    window: Literal["uniform", "gaussian"] = Field(
        "uniform",
        description="Windows that are compared: 7×7 pixels alike (scikit-image's default, which gives the paper's "
        "figures), or 11×11 under a Gaussian of 1.5 pixels (Wang et al., 2004).",
    )


class SiglipJudge(Section):
    """A second image-text model, which selection does not optimise: the cosine of image and bare caption."""

    model: ModelName = Field(
        "ViT-B-16-SigLIP", description="open_clip architecture, hub model (hf-hub:…) or folder; SigLIP or any other."
    )
    pretrained: str | None = Field("webli", description="open_clip weights tag; null for hub models and folders.")
    prompt_prefix: str = Field("", description="Text put before each caption.")
    dtype: Dtype = Field("float32", description="Precision of the model.")


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


class AestheticJudge(Section):
    """LAION's aesthetic predictor: how much people would like the picture, on a scale that is about 1 to 10."""

    predictor: Location = Field(
        description="safetensors file of the linear head over CLIP embeddings: one layer (version 1) or several "
        "without activations between them (version 2)."
    )
    model: ModelName = Field(
        "ViT-L-14", description="open_clip model whose image embeddings the head was trained on; name, hub or folder."
    )
    pretrained: str | None = Field("openai", description="open_clip weights tag; null for hub models and folders.")
    dtype: Dtype = Field("float32", description="Precision of the CLIP model.")


class ImageClassifier(Section):
    """An image classifier of transformers, and its labels that speak against an image."""

    model: ModelName = Field(description="Hub id or folder, e.g. Falconsai/nsfw_image_detection.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    labels: tuple[str, ...] = Field(min_length=1, description="Labels whose probabilities are added, e.g. [nsfw].")


class SafetyJudge(Section):
    """Probability that an image is unsafe or marked, in [0, 1]: of several classifiers, the highest."""

    classifiers: tuple[ImageClassifier, ...] = Field(
        min_length=1, description="Classifiers of unsafe content, of watermarks, or of both."
    )
    dtype: Dtype = Field("float32", description="Precision of the models.")


class Judges(Section):
    """Held-out judges: measures that selection does not optimise, by which it can be audited. All off by default."""

    siglip: SiglipJudge | None = Field(None, description="Gives siglip_score: cosine, in [-1, 1].")
    vqa: VqaJudge | None = Field(None, description="Gives vqa_score: probability, in [0, 1].")
    aesthetic: AestheticJudge | None = Field(None, description="Gives aesthetic_score: about 1 to 10, unbounded.")
    safety: SafetyJudge | None = Field(None, description="Gives safety_score: probability of harm, in [0, 1].")

    @property
    def configured(self) -> tuple[str, ...]:
        """Names of the judges that are on, in order."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns of the judges that are on, e.g. `("siglip_score", "vqa_score")`."""
        return tuple(f"{name}_score" for name in self.configured)


class Scoring(Section):
    """How each generated image is measured (SynthVLM §3.3)."""

    clip: ClipScoring = Field(default_factory=ClipScoring)
    ssim: SsimScoring = Field(default_factory=SsimScoring)
    judges: Judges = Field(default_factory=Judges)
    batch_size: int = Field(64, ge=1, le=65_536, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")
