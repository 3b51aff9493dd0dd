"""CLIP similarity of captions with their original images, where the source does not carry it (SynthVLM §3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from synthvlm_dagster.captions.measures.image_text_pairs import measure_pairs
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.held import require_unchanged
from synthvlm_dagster.models.open_clip import OpenClip, load_open_clip
from synthvlm_dagster.recipe import ImageTextSimilarity

if TYPE_CHECKING:
    import torch

_FIELD = "curation.rules.image_text_similarity"


class ClipSimilarity:
    """Cosine in [-1, 1] of a caption, as it is, with its original image, under an open_clip model.

    A `Measure`. Captions longer than the model's context (77 tokens) are truncated. The model is
    loaded when the first caption with an image is measured.

    Raises:
        ModelError: the model is a path, and nothing is there.
        ValueError: the rule has no model: there is nothing to measure with.
    """

    name = "image_text_similarity"
    looks_at_images = True
    extras = pl.Schema()

    def __init__(self, rule: ImageTextSimilarity) -> None:
        if rule.model is None:
            raise ValueError(f"{_FIELD}.model is null: nothing is to be measured")
        self._rule = rule
        self._model = rule.model
        self.identity = self._identity()

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """See `Measure`.

        Raises:
            ModelError: the model cannot be loaded.
            RecipeError: the device does not exist.
        """
        return measure_pairs(captions, self._load, self._rule.batch_size, on_progress)

    def _identity(self) -> str:
        rule = self._rule
        weights = [model_identity(name, None) for name in (rule.model, rule.pretrained) if name is not None]
        return fingerprint(self.name, weights, rule.dtype)

    def _load(self) -> _Cosine:
        device = usable_device(self._rule.device, f"{_FIELD}.device")
        clip = load_open_clip(self._model, self._rule.pretrained, self._rule.dtype, device, _FIELD)
        require_unchanged(f"{_FIELD}.model: {self._model}", self.identity, self._identity())
        return _Cosine(clip)


class _Cosine:
    def __init__(self, clip: OpenClip) -> None:
        self._clip = clip
        self.prepare = clip.prepare

    def score(self, images: Sequence[torch.Tensor], texts: Sequence[str], image_of_text: Sequence[int]) -> np.ndarray:
        seen = self._clip.embed_images(images)[list(image_of_text)]
        return np.clip((seen * self._clip.embed_texts(texts)).sum(axis=1), -1.0, 1.0)
