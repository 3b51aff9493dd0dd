"""Stable Diffusion XL (arXiv 2307.01952), alone or with its refiner, and the few-step models made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.images.generators.clip_family import ClipFamily
from synthvlm_dagster.images.generators.clip_texts import encode_in_chunks
from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    import torch

_PENULTIMATE = -2
"""SDXL takes the hidden states before the last layer of both its text encoders (section 2.1 of the paper)."""


class StableDiffusionXL(ClipFamily):
    """SDXL base; a second pipeline, if there is one, is the refiner that does the end of the denoising.

    The published autoencoder overflows in float16, as its `force_upcast` says: it is kept in float32 then, once for
    all batches. An autoencoder made for float16 has no such mark and stays as it is.
    """

    pipeline_classes: ClassVar[tuple[str, ...]] = ("StableDiffusionXLPipeline",)
    guided_embeddings: ClassVar[tuple[str, ...]] = ("prompt_embeds", "add_text_embeds", "add_time_ids")

    def __init__(self, pipelines: Sequence[Any], generation: Generation) -> None:
        import torch

        super().__init__(pipelines, generation)
        vae = self.pipeline.vae
        if vae.dtype == torch.float16 and vae.config.force_upcast:
            vae.to(torch.float32)
        for pipeline in self.pipelines:
            # diffusers marks pixels where the package invisible-watermark happens to be installed, and only there.
            pipeline.watermark = None

    @property
    def guided(self) -> bool:
        """Whether a second, unconditional prediction guides every step; a UNet told the scale needs none."""
        return super().guided and self.pipeline.unet.config.time_cond_proj_dim is None

    def denoise_alike(self, texts: list[str], generators: list[torch.Generator]) -> torch.Tensor:
        """Latents of texts that all fill the same number of contexts."""
        refiner = self.generation.refiner
        if refiner is None:
            return super().denoise_alike(texts, generators)
        base_pipeline, refiner_pipeline = self.pipelines
        handover, guidance_end = refiner.handover, self.generation.guidance_end
        latents = self.call(
            base_pipeline,
            generators,
            **self.conditions(base_pipeline, texts),
            **self.size,
            **self.cutoff(end=handover),
            denoising_end=handover,
        ).images
        unguided = {"guidance_scale": 0.0} if guidance_end <= handover else self.cutoff(begin=handover)
        return self.call(
            refiner_pipeline,
            generators,
            **self.conditions(refiner_pipeline, texts),
            **unguided,
            image=latents,
            denoising_start=handover,
        ).images

    def embed(self, pipeline: Any, texts: list[str], contexts: int) -> dict[str, torch.Tensor]:
        """Token embeddings of both text encoders side by side, and the pooled embedding of the second."""
        import torch

        if self.generation.long_prompts == "truncate":
            tokens, _, pooled, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
            return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
        encoders = [(pipeline.tokenizer, pipeline.text_encoder), (pipeline.tokenizer_2, pipeline.text_encoder_2)]
        encoded = [
            encode_in_chunks(tokenizer, encoder, texts, contexts, layer=_PENULTIMATE)
            for tokenizer, encoder in encoders
            if encoder is not None
        ]
        return {
            "prompt_embeds": torch.cat([tokens for tokens, _ in encoded], dim=-1),
            "pooled_prompt_embeds": encoded[-1][1],
        }

    def negative(self, pipeline: Any, contexts: int) -> dict[str, torch.Tensor]:
        """Embeddings of the negative prompt, one row; zeros instead of the empty one where the model was so trained."""
        import torch

        negative = super().negative(pipeline, contexts)
        if self.generation.negative_prompt is None and pipeline.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(embedding) for name, embedding in negative.items()}
        return negative

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's output, shape (batch, 3, height, width), about [-1, 1]."""
        import torch

        vae = self.pipeline.vae
        latents = latents.to(vae.dtype)
        mean, std = (getattr(vae.config, name, None) for name in ("latents_mean", "latents_std"))
        if mean is not None and std is not None:
            shape = (1, len(mean), 1, 1)
            mean, std = (torch.tensor(value).view(shape).to(latents.device, latents.dtype) for value in (mean, std))
            latents = latents * std / vae.config.scaling_factor + mean
        else:
            latents = latents / vae.config.scaling_factor
        return vae.decode(latents, return_dict=False)[0]


class StableDiffusionXLTurbo(StableDiffusionXL):
    """SDXL-Turbo (arXiv 2311.17042) and Lightning (arXiv 2402.13929): one to eight steps, distilled without guidance.

    Their schedulers' trailing timestep spacing comes with the model, or with the recipe's `scheduler.config`.
    """

    def __init__(self, pipelines: Sequence[Any], generation: Generation) -> None:
        super().__init__(pipelines, generation)
        if generation.guidance_scale > 1:
            self.refuse("guidance_scale", "is distilled to draw without guidance here; write 0")
        if generation.guidance_end < 1:
            self.refuse("guidance_end", "is distilled to draw without guidance here; remove it")
