"""CLIPScore: the cosine of an image and its caption under an open_clip model (arXiv 2104.08718)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from synthvlm_dagster.devices import usable_device
from synthvlm_dagster.open_clip_models import OpenClip, check_open_clip, load_open_clip
from synthvlm_dagster.recipe import ClipScoring

_FIELD = "scoring.clip"


class ClipScorer:
    """An open_clip model that scores images against captions; loaded when the first score is asked for."""

    def __init__(self, clip: ClipScoring, device: str = "auto") -> None:
        """
        Args:
            clip: model, weights, prompt prefix and precision.
            device: torch device; `auto` takes cuda when there is one, else cpu.
        """
        self.clip = clip
        self.device = device

    def clip_scores(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Cosine of each image with its caption behind the prompt prefix, clipped at 0.

        The raw cosine, without the factor 2.5 of arXiv 2104.08718. Captions longer than the model's context (77 tokens
        for OpenAI's models) are truncated; a caption given several times is encoded once.

        Args:
            images: uint8 arrays of shape (height, width, 3), sRGB, of any size: one batch.
            captions: one text per image.

        Returns:
            float64 of shape (len(images),), in [0, 1].

        Raises:
            ModelError: the model cannot be loaded.
            ValueError: the two lists differ in length.
        """
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images but {len(captions)} captions")
        if not images:
            return np.empty(0)
        loaded = self._loaded
        distinct = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        of_image = [distinct[caption] for caption in captions]
        seen = loaded.embed_images([loaded.prepare(image) for image in images])
        told = loaded.embed_texts([self.clip.prompt_prefix + caption for caption in distinct])
        return np.clip((seen * told[of_image]).sum(axis=1), 0.0, 1.0)

    @cached_property
    def _loaded(self) -> OpenClip:
        device = usable_device(self.device, "scoring.device")
        return load_open_clip(self.clip.model, self.clip.pretrained, self.clip.dtype, device, _FIELD)


def check_model(clip: ClipScoring) -> None:
    """Refuse, without network, a CLIP model that cannot be loaded whatever happens.

    Raises:
        ModelError: the folder is missing or holds no open_clip model, or open_clip knows no such architecture or
            pretrained tag; names the nearest known ones.
    """
    check_open_clip(clip.model, clip.pretrained, _FIELD)
