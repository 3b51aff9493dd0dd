"""Stable Diffusion 3 and 3.5 (arXiv 2403.03206)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.images.generators.clip_texts import token_counts
from synthvlm_dagster.images.generators.family import Family

if TYPE_CHECKING:
    import torch


class StableDiffusion3(Family):
    """A transformer that reads two CLIP encoders, cut at 77 tokens, and T5, unless the model was loaded without it."""

    pipeline_classes: ClassVar[tuple[str, ...]] = ("StableDiffusion3Pipeline",)
    guided_embeddings: ClassVar[tuple[str, ...]] = ("prompt_embeds", "pooled_prompt_embeds")

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of so many pixels."""
        return self.pipeline.vae_scale_factor * self.pipeline.patch_size

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text, those that mark its start and end included."""
        if self.pipeline.text_encoder_3 is None:
            return self.pipeline.tokenizer.model_max_length
        return inspect.signature(self.pipeline.encode_prompt).parameters["max_sequence_length"].default

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, those that mark its start and end included."""
        without_t5 = self.pipeline.text_encoder_3 is None
        return token_counts(self.pipeline.tokenizer if without_t5 else self.pipeline.tokenizer_3, texts)

    def embed(self, pipeline: Any, texts: list[str], _contexts: int) -> dict[str, torch.Tensor]:
        """Token embeddings of CLIP and T5 one after the other, and the pooled ones of CLIP."""
        tokens, _, pooled, _ = pipeline.encode_prompt(texts, None, None, do_classifier_free_guidance=False)
        return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's output, shape (batch, 3, height, width), about [-1, 1]."""
        vae = self.pipeline.vae
        return vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
