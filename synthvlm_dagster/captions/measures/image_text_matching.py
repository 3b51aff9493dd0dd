"""How probably captions fit their original images, by BLIP's image-text matching head (arXiv 2201.12086, §3.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from PIL import Image

from synthvlm_dagster.captions.measures.image_text_pairs import measure_pairs
from synthvlm_dagster.devices import usable_device
from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.recipe import ImageTextMatching

if TYPE_CHECKING:
    import torch

_FIELD = "curation.rules.image_text_matching"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
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
    extras = pl.Schema()

    def __init__(self, rule: ImageTextMatching) -> None:
        self._rule = rule
        self.identity = fingerprint(self.name, model_identity(rule.model, rule.revision), rule.dtype)

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """See `Measure`.

        Raises:
            ModelError: the model cannot be loaded, or is no BLIP retrieval model.
            RecipeError: the device does not exist.
        """
        return measure_pairs(captions, self._load, self._rule.batch_size, on_progress)

    def _load(self) -> _MatchingHead:
        import torch

        device = usable_device(self._rule.device, f"{_FIELD}.device")
        model, processor = _load_blip(self._rule)
        return _MatchingHead(model.to(device, getattr(torch, self._rule.dtype)).eval(), processor)


def check_blip(rule: ImageTextMatching) -> None:
    """Refuse, without network, a model that cannot be a BLIP retrieval model whatever happens.

    Of hub ids only the form is looked at.

    Raises:
        ModelError: it is neither a folder with a BLIP configuration and safetensors weights, nor a hub id.
    """
    folder = Path(rule.model)
    if not folder.is_absolute() and not folder.exists():
        if not _HUB_ID.fullmatch(rule.model):
            raise ModelError(f"{_FIELD}.model: {rule.model}: is neither a folder nor a hub id such as org/model")
        return
    if not folder.is_dir():
        raise ModelError(f"{_FIELD}.model: {folder}: no such model folder. Correct the path in the recipe")
    config = folder / "config.json"
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{_FIELD}.model: {config}: cannot be read as a model's configuration: {error}") from error
    if kind != "blip":
        raise ModelError(f"{_FIELD}.model: {folder}: is a model of type {kind}, not blip. Name a BLIP retrieval model")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{_FIELD}.model: {folder}: holds no weights (*.safetensors). Convert others with "
            "save_pretrained(..., safe_serialization=True)"
        )


def _load_blip(rule: ImageTextMatching) -> tuple[Any, Any]:
    from transformers import BlipForImageTextRetrieval, BlipProcessor

    check_blip(rule)
    try:
        model, facts = BlipForImageTextRetrieval.from_pretrained(
            rule.model, revision=rule.revision or "main", use_safetensors=True, output_loading_info=True
        )
        processor = BlipProcessor.from_pretrained(rule.model, revision=rule.revision or "main")
    except Exception as error:  # weight files and configurations of any origin fail in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(
            f"{_FIELD}.model: {rule.model} cannot be loaded: {reason}. A model that is not on this machine needs the "
            "network, once; or name a model folder"
        ) from error
    # transformers fills what a file lacks with random numbers and only logs it: a captioning BLIP has no such head.
    if lost := sorted(set(facts["missing_keys"]) & {name for name, _ in model.named_parameters()}):
        raise ModelError(
            f"{_FIELD}.model: {rule.model}: is no BLIP retrieval model: its weights lack {lost[0]}"
            f"{f' and {len(lost) - 1} others' if lost[1:] else ''}. Name one such as Salesforce/blip-itm-base-coco"
        )
    return model, processor


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
