"""Image classifiers that say what must not be shown: unsafe content, watermarks."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.judge import JudgeSetting
from synthvlm_dagster.recipe.section import Dtype, ModelName, Section


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


JUDGE = JudgeSetting(
    name="safety",
    section=SafetyJudge,
    label="Unsafe or marked",
    measures="probability that the image is unsafe or marked, in [0, 1]",
    place=40,
    lowest=0.0,
    highest=1.0,
    higher_is_better=False,
    models=lambda settings: [classifier.model for classifier in settings.classifiers],
)
