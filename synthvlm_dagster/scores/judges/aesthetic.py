"""LAION's aesthetic predictor: a linear head over the image embeddings of a CLIP model.

Version 1 (github.com/LAION-AI/aesthetic-predictor) is one linear layer; version 2 (github.com/christophschuhmann/
improved-aesthetic-predictor) several of them without activations between them, which together are one as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import fsspec
import numpy as np

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.open_clip import OpenClip, check_open_clip, load_open_clip
from synthvlm_dagster.recipe.judges.aesthetic import AestheticJudge
from synthvlm_dagster.scores.judge import HeldOutJudge

if TYPE_CHECKING:
    import torch

_FIELD = "scoring.judges.aesthetic"


class AestheticScore:
    """How much people would like the picture, about 1 to 10; a `JudgeModel` that does not read the caption."""

    def __init__(self, judge: AestheticJudge, device: str) -> None:
        self.model = f"{judge.predictor} over {judge.model}"
        self._judge = judge
        self._device = device

    def load(self) -> None:
        """See `JudgeModel`."""
        _ = self._head, self._clip

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """See `JudgeModel`."""
        return self._clip.prepare(image)

    def score(self, prepared: Sequence[torch.Tensor], captions: Sequence[str]) -> np.ndarray:  # noqa: ARG002
        """See `JudgeModel`.

        Raises:
            ModelError: the head takes embeddings of another size than the CLIP model gives.
        """
        weight, bias = self._head
        embeddings = self._clip.embed_images(prepared)
        if embeddings.shape[1] != len(weight):
            raise ModelError(
                f"{_FIELD}.predictor: {self._judge.predictor} takes {len(weight)} numbers, and {self._judge.model} "
                f"gives {embeddings.shape[1]}. Name the CLIP model that the predictor was trained on"
            )
        return embeddings @ weight + bias

    @cached_property
    def _clip(self) -> OpenClip:
        device = usable_device(self._device, "scoring.device")
        return load_open_clip(self._judge.model, self._judge.pretrained, self._judge.dtype, device, _FIELD)

    @cached_property
    def _head(self) -> tuple[np.ndarray, float]:
        return read_head(self._judge.predictor)


def check_aesthetic(judge: AestheticJudge) -> None:
    """Refuse, without network, a predictor or model that cannot be loaded whatever happens.

    Raises:
        ModelError: the predictor is a path and no linear head; or see `check_open_clip`.
    """
    check_open_clip(judge.model, judge.pretrained, _FIELD)
    if "://" not in judge.predictor:
        read_head(judge.predictor)


def read_head(location: str) -> tuple[np.ndarray, float]:
    """The linear function in a safetensors file.

    Args:
        location: path or URL of a file with a `weight` (outputs × inputs) and a `bias` for each layer, whose names
            hold the layer's number where there are several.

    Returns:
        Weights, float64 of shape (embedding size,), and bias of the one function that the layers make together.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    from safetensors.numpy import load

    try:
        with fsspec.open(location, "rb") as file:
            tensors = load(file.read())
    except Exception as error:  # files of any origin fail in any way
        raise ModelError(f"{_FIELD}.predictor: {location}: cannot be read as safetensors: {error}") from error
    names = sorted((name.removesuffix("weight") for name in tensors if name.endswith("weight")), key=_numbers)
    expected = {f"{name}{part}" for name in names for part in ("weight", "bias")}
    weight, bias = None, np.zeros(1)
    try:
        if not names or expected != set(tensors):
            raise ValueError(f"its tensors are {', '.join(sorted(tensors)) or 'none'}")
        for name in names:
            layer, shift = tensors[f"{name}weight"].astype(np.float64), tensors[f"{name}bias"].astype(np.float64)
            bias = shift if weight is None else layer @ bias + shift
            weight = layer if weight is None else layer @ weight
        if weight is None or weight.shape[0] != 1 or bias.shape != (1,):
            raise ValueError("it does not end in one number")
    except ValueError as error:
        raise ModelError(
            f"{_FIELD}.predictor: {location}: is no linear head, a weight and a bias per layer: {error}"
        ) from error
    return weight[0], float(bias[0])


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


JUDGE = HeldOutJudge("aesthetic", AestheticScore, check_aesthetic)
