"""How probably captions fit their original images, by BLIP's image-text matching head (arXiv 2201.12086, §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from PIL import Image

from synthvlm_dagster.captions.measures.image_text_pairs import measure_pairs
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.held import require_unchanged
from synthvlm_dagster.models.transformers import (
    check_transformers_model,
    load_transformers_model,
)
from synthvlm_dagster.recipe import ImageTextMatching

if TYPE_CHECKING:
    import torch

_FIELD = "curation.rules.image_text_matching"
_MATCH = 1
"""Index of "match" among the two classes of the matching head."""


class BlipMatching:
    """Probability in [0, 1] that a caption, as it is, fits its original image, under a BLIP retrieval model.

    A `Measure`. As Data-Juicer's image_text_matching_filter measures: the softmax of the matching
    head over the model's own preprocessing, no flips, captions truncated to the text encoder's positions (512 tokens).
    The model is loaded when the first caption with an image is measured.

    Raises:
        ModelError: the model is a path, and nothing is there.
    """

    name = "image_text_matching"
    looks_at_images = True
    extras = pl.Schema()

    def __init__(self, rule: ImageTextMatching) -> None:
        self._rule = rule
        self.identity = self._identity()

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """See `Measure`.

        Raises:
            ModelError: the model cannot be loaded, or is no BLIP retrieval model.
            RecipeError: the device does not exist.
        """
        return measure_pairs(captions, self._load, self._rule.batch_size, on_progress)

    def _identity(self) -> str:
        rule = self._rule
        return fingerprint(self.name, model_identity(rule.model, rule.revision), rule.dtype)

    def _load(self) -> _MatchingHead:
        import torch
        from transformers import BlipForImageTextRetrieval, BlipProcessor

        rule = self._rule
        check_blip(rule)
        device = usable_device(rule.device, f"{_FIELD}.device")
        classes = (BlipForImageTextRetrieval, BlipProcessor)
        model, processor = load_transformers_model(
            rule.model, rule.revision, f"{_FIELD}.model", classes, "BLIP retrieval model"
        )
        require_unchanged(f"{_FIELD}.model: {rule.model}", self.identity, self._identity())
        return _MatchingHead(model.to(device, getattr(torch, rule.dtype)).eval(), processor)


def check_blip(rule: ImageTextMatching) -> None:
    """Refuse, without network, a model that cannot be a BLIP retrieval model whatever happens.

    Raises:
        ModelError: it is neither a folder with a BLIP configuration and safetensors weights, nor a hub id.
    """
    check_transformers_model(rule.model, f"{_FIELD}.model", kind="blip")


class _MatchingHead:
    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return self._processor.image_processor(images=[Image.fromarray(image)], return_tensors="pt")["pixel_values"][0]

    def score(self, images: Sequence[torch.Tensor], texts: Sequence[str], image_of_text: Sequence[int]) -> np.ndarray:
        import torch

        model = self._model
        tokens = self._processor.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            # The model's own forward would look at an image once for each of its captions.
            seen = model.vision_model(torch.stack(list(images)).to(model.device, model.dtype)).last_hidden_state
            read = model.text_encoder(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                encoder_hidden_states=seen[list(image_of_text)],
            ).last_hidden_state
            probabilities = model.itm_head(read[:, 0]).double().softmax(dim=-1)
        return probabilities[:, _MATCH].cpu().numpy()
