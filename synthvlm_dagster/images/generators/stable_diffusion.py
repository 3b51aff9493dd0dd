"""Stable Diffusion 1 and 2 (arXiv 2112.10752)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.images.generators.clip_family import ClipFamily
from synthvlm_dagster.images.generators.clip_texts import encode_in_chunks

if TYPE_CHECKING:
    import torch


class StableDiffusion(ClipFamily):
    """One CLIP text encoder, one UNet, and often a safety checker."""

    pipeline_classes: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline",)
    guided_embeddings: ClassVar[tuple[str, ...]] = ("prompt_embeds",)

    @property
    def guided(self) -> bool:
        """Whether a second, unconditional prediction guides every step; a UNet told the scale needs none."""
        return super().guided and self.pipeline.unet.config.time_cond_proj_dim is None

    def embed(self, pipeline: Any, texts: list[str], contexts: int) -> dict[str, torch.Tensor]:
        """Token embeddings of the text encoder."""
        if self.generation.long_prompts == "truncate":
            tokens, _ = pipeline.encode_prompt(texts, pipeline.device, 1, do_classifier_free_guidance=False)
        else:
            tokens, _ = encode_in_chunks(pipeline.tokenizer, pipeline.text_encoder, texts, contexts, layer=None)
        return {"prompt_embeds": tokens}

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's output, shape (batch, 3, height, width), about [-1, 1]."""
        vae = self.pipeline.vae
        return vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
