"""PixArt-Σ (arXiv 2403.04692)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.images.generators.clip_texts import token_counts
from synthvlm_dagster.images.generators.family import Family

if TYPE_CHECKING:
    import torch

_SIZES_WITH_BINS = (32, 64, 128, 256)
"""Latent sizes of the models for which diffusers has a table of the resolutions that they were trained on."""


class PixArtSigma(Family):
    """A transformer that reads T5.

    As in diffusers, an image is drawn at the nearest resolution that the model was trained on, then scaled and cropped
    to the recipe's. Texts are put in lower case and otherwise left alone: diffusers' `clean_caption` depends on which
    packages happen to be installed, and captions are curated before they come here.
    """

    pipeline_classes: ClassVar[tuple[str, ...]] = ("PixArtSigmaPipeline",)

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text, the one that marks its end included."""
        return inspect.signature(self.pipeline.encode_prompt).parameters["max_sequence_length"].default

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, the one that marks its end included."""
        return token_counts(self.pipeline.tokenizer, [text.lower().strip() for text in texts])

    def embed(self, pipeline: Any, texts: list[str], _contexts: int) -> dict[str, torch.Tensor]:
        """Token embeddings of T5, and which of them are text."""
        tokens, mask, _, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False, clean_caption=False)
        return {"prompt_embeds": tokens, "prompt_attention_mask": mask}

    def call(self, pipeline: Any, generators: list[torch.Generator], **arguments: Any) -> Any:
        """Call a pipeline for latents with the recipe's settings; see `Family.call`."""
        # Its default is the empty text, which it refuses beside embeddings.
        arguments |= {"negative_prompt": None, "use_resolution_binning": self._has_bins}
        return super().call(pipeline, generators, **arguments)

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's output at the recipe's size, shape (batch, 3, height, width), about [-1, 1]."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        pixels = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
        if not self._has_bins:
            return pixels
        return pipeline.image_processor.resize_and_crop_tensor(pixels, self.generation.width, self.generation.height)

    @property
    def _has_bins(self) -> bool:
        return self.pipeline.transformer.config.sample_size in _SIZES_WITH_BINS
