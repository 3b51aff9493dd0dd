"""FLUX.1 dev and schnell."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.images.generators.clip_texts import token_counts
from synthvlm_dagster.images.generators.family import Family
from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    import torch

_SCHNELL_CONTEXT = 256
"""Tokens that schnell reads (https://huggingface.co/docs/diffusers/api/pipelines/flux, "Timestep-distilled")."""


class Flux(Family):
    """A transformer that reads T5, and CLIP's pooled embedding; guidance is distilled into it.

    `guidance_scale` is a number that dev is told; schnell ignores it.
    """

    pipeline_classes: ClassVar[tuple[str, ...]] = ("FluxPipeline",)

    def __init__(self, pipelines: Sequence[Any], generation: Generation) -> None:
        super().__init__(pipelines, generation)
        if generation.negative_prompt is not None:
            self.refuse("negative_prompt", "is distilled and takes none; remove it")

    @property
    def guided(self) -> bool:
        """Never: there is no second, unconditional prediction."""
        return False

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of so many pixels: latents are packed two by two."""
        return self.pipeline.vae_scale_factor * 2

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text, the one that marks its end included."""
        if not self.pipeline.transformer.config.guidance_embeds:
            return _SCHNELL_CONTEXT
        return inspect.signature(self.pipeline.encode_prompt).parameters["max_sequence_length"].default

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, the one that marks its end included."""
        return token_counts(self.pipeline.tokenizer_2, texts)

    def embed(self, pipeline: Any, texts: list[str], _contexts: int) -> dict[str, torch.Tensor]:
        """Token embeddings of T5, and the pooled one of CLIP."""
        tokens, pooled, _ = pipeline.encode_prompt(texts, None, max_sequence_length=self.context_length)
        return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's output, shape (batch, 3, height, width), about [-1, 1]; latents come packed."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        latents = pipeline._unpack_latents(latents, **self.size, vae_scale_factor=pipeline.vae_scale_factor)
        return vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
