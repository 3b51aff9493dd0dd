"""CLIPScore: the cosine of an image and its caption under an open_clip model (arXiv 2104.08718)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from synthvlm_dagster.image_decoding import read_image_file
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.open_clip import OpenClip, check_open_clip, load_open_clip
from synthvlm_dagster.recipe import ClipScoring, SiglipJudge
from synthvlm_dagster.scores.prefetch import prepared_ahead

if TYPE_CHECKING:
    import torch

_FIELD = "scoring.clip"
_CAPTIONS_KEPT = 1 << 15
"""Captions whose embeddings are kept for further images of theirs: 128 MiB at 512 numbers each."""


class ClipScores(NamedTuple):
    """What an open_clip model says of a batch of images."""

    scores: np.ndarray
    """float64, shape (n,): cosines with the captions, in [0, 1]; in [-1, 1] where they are not clipped."""
    embeddings: np.ndarray
    """float64, shape (n, embedding size): of the images, of length 1."""


class ClipScorer:
    """An open_clip model that scores images against captions; loaded when the first score is asked for.

    A caption is encoded once, also when its images come in several batches.
    """

    def __init__(
        self, clip: ClipScoring | SiglipJudge, device: str = "auto", *, clipped: bool = True, field: str = _FIELD
    ) -> None:
        """
        Args:
            clip: model, weights, prompt prefix and precision.
            device: torch device; `auto` takes cuda when there is one, else cpu.
            clipped: whether cosines below 0 become 0, as CLIPScore has it.
            field: the recipe's section that names the model, for errors.
        """
        self.clip = clip
        self.device = device
        self._lowest = 0.0 if clipped else -1.0
        self._field = field
        self._told: dict[str, np.ndarray] = {}

    def load(self) -> None:
        """Load the model, if it is not.

        Raises:
            ModelError: the model cannot be loaded.
        """
        _ = self._loaded

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """The model's input for an image (uint8, shape (height, width, 3), sRGB); may be called from several threads.

        The model must be loaded.
        """
        return self._loaded.prepare(image)

    def score(self, prepared: Sequence[torch.Tensor], captions: Sequence[str]) -> ClipScores:
        """Scores and embeddings of one batch of prepared images, with one caption each."""
        seen = self._loaded.embed_images(prepared)
        told = self._embed_captions(captions)
        return ClipScores(np.clip((seen * told).sum(axis=1), self._lowest, 1.0), seen)

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
        return self.score([self.prepare(image) for image in images], captions).scores

    def _embed_captions(self, captions: Sequence[str]) -> np.ndarray:
        if new := [caption for caption in dict.fromkeys(captions) if caption not in self._told]:
            embedded = self._loaded.embed_texts([self.clip.prompt_prefix + caption for caption in new])
            self._told.update(zip(new, embedded, strict=True))
        rows = np.stack([self._told[caption] for caption in captions])
        while len(self._told) > _CAPTIONS_KEPT:
            del self._told[next(iter(self._told))]
        return rows

    @cached_property
    def _loaded(self) -> OpenClip:
        device = usable_device(self.device, "scoring.device")
        return load_open_clip(self.clip.model, self.clip.pretrained, self.clip.dtype, device, self._field)


def clip_scores(
    images: Sequence[np.ndarray | str | Path],
    captions: Sequence[str],
    *,
    model: str = "ViT-B-32",
    pretrained: str | None = "openai",
    prompt_prefix: str = "A photo depicts ",
    dtype: str = "float32",
    device: str = "auto",
    batch_size: int = 64,
) -> np.ndarray:
    """CLIPScore of each image with its caption: the raw cosine of their embeddings, clipped at 0 (SynthVLM, §3.3).

    Files are read, decoded and preprocessed in threads while the model looks at the images before them; a caption that
    stands there several times is encoded once.

    Args:
        images: files (PNG, JPEG, WebP …), or uint8 arrays of shape (height, width, 3), sRGB, of any size.
        captions: one text per image; what is longer than the model's context (77 tokens for OpenAI's models) is cut.
        model: open_clip architecture, hub model (`hf-hub:…`) or folder.
        pretrained: weights tag or file of an architecture; None for hub models and folders.
        prompt_prefix: text put before each caption (arXiv 2104.08718, §3).
        dtype: `float32`, `float16` or `bfloat16`.
        device: torch device; `auto` takes cuda when there is one, else cpu.
        batch_size: images measured together.

    Returns:
        float64 of shape (len(images),), in [0, 1]. The factor 2.5 of arXiv 2104.08718 is not in it, as in SynthVLM.

    Raises:
        ImageError: a file is missing or cannot be decoded; names it.
        ModelError: the model cannot be loaded.
        RecipeError: the device does not exist.
        ValueError: the two lists differ in length, or a setting has an impossible value.
    """
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images but {len(captions)} captions")
    if not images:
        return np.empty(0)
    settings = {"model": model, "pretrained": pretrained, "prompt_prefix": prompt_prefix, "dtype": dtype}
    scorer = ClipScorer(ClipScoring.model_validate(settings), device)
    scorer.load()

    def look(number: int) -> torch.Tensor:
        image = images[number]
        return scorer.prepare(image if isinstance(image, np.ndarray) else read_image_file(image))

    scores = []
    numbers: Iterator[pl.DataFrame] = pl.DataFrame({"number": range(len(images))}).iter_slices(batch_size)
    done = 0
    for prepared in prepared_ahead(numbers, look):
        scores.append(scorer.score(prepared, captions[done : done + len(prepared)]).scores)
        done += len(prepared)
    return np.concatenate(scores)


def check_model(clip: ClipScoring | SiglipJudge, field: str = _FIELD) -> None:
    """Refuse, without network, a CLIP model that cannot be loaded whatever happens.

    Raises:
        ModelError: the folder is missing or holds no open_clip model, or open_clip knows no such architecture or
            pretrained tag; names the nearest known ones.
    """
    check_open_clip(clip.model, clip.pretrained, field)
