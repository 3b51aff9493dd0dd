"""Image classifiers of transformers as a judge of what must not be shown: unsafe content, watermarks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.transformers import check_transformers_model, load_transformers_model
from synthvlm_dagster.recipe.judges.safety import ImageClassifier, SafetyJudge
from synthvlm_dagster.scores.judge import HeldOutJudge

if TYPE_CHECKING:
    import torch

_FIELD = "scoring.judges.safety"


class SafetyScore:
    """Probability that an image is unsafe or marked, in [0, 1]; a `JudgeModel` that does not read the caption.

    For each classifier the softmax probabilities of the recipe's labels are added; the highest of these sums counts.
    """

    def __init__(self, judge: SafetyJudge, device: str) -> None:
        self.model = ", ".join(classifier.model for classifier in judge.classifiers)
        self._judge = judge
        self._device = device

    def load(self) -> None:
        """See `JudgeModel`."""
        _ = self._classifiers

    def prepare(self, image: np.ndarray) -> list[torch.Tensor]:
        """See `JudgeModel`; one input per classifier."""
        picture = Image.fromarray(image)
        return [classifier.prepare(picture) for classifier in self._classifiers]

    def score(self, prepared: Sequence[list[torch.Tensor]], captions: Sequence[str]) -> np.ndarray:  # noqa: ARG002
        """See `JudgeModel`."""
        of_classifiers = zip(*prepared, strict=True)
        sums = [model.score(inputs) for model, inputs in zip(self._classifiers, of_classifiers, strict=True)]
        return np.max(sums, axis=0)

    @cached_property
    def _classifiers(self) -> list[_Classifier]:
        device = usable_device(self._device, "scoring.device")
        return [
            _Classifier(classifier, f"{_FIELD}.classifiers.{number}", self._judge.dtype, device)
            for number, classifier in enumerate(self._judge.classifiers)
        ]


class _Classifier:
    def __init__(self, classifier: ImageClassifier, field: str, dtype: str, device: torch.device) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        check_transformers_model(classifier.model, f"{field}.model")
        classes = (AutoModelForImageClassification, AutoImageProcessor)
        model, self._processor = load_transformers_model(
            classifier.model, classifier.revision, f"{field}.model", classes, "image classifier"
        )
        self._model: Any = model.to(device, getattr(torch, dtype)).eval()
        self._indices = _indices_of(classifier, model.config.id2label, field)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return self._processor(images=image, return_tensors="pt")["pixel_values"][0]

    def score(self, inputs: Sequence[torch.Tensor]) -> np.ndarray:
        import torch

        pixels = torch.stack(list(inputs)).to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            probabilities = self._model(pixel_values=pixels).logits.double().softmax(dim=-1)
        return probabilities[:, self._indices].sum(dim=1).clamp(max=1.0).cpu().numpy()


def check_safety(judge: SafetyJudge) -> None:
    """Refuse, without network, classifiers that cannot be loaded whatever happens.

    Raises:
        ModelError: one is neither a hub id nor a folder with a configuration and safetensors weights.
    """
    for number, classifier in enumerate(judge.classifiers):
        check_transformers_model(classifier.model, f"{_FIELD}.classifiers.{number}.model")


def _indices_of(classifier: ImageClassifier, names: dict[int, str], field: str) -> list[int]:
    number_of = {name.casefold(): int(number) for number, name in names.items()}
    unknown = [label for label in classifier.labels if label.casefold() not in number_of]
    if unknown:
        raise ModelError(
            f"{field}.labels: {classifier.model} has no label {', '.join(unknown)}; it has {', '.join(names.values())}"
        )
    return sorted({number_of[label.casefold()] for label in classifier.labels})


JUDGE = HeldOutJudge("safety", SafetyScore, check_safety)
