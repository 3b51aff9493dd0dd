"""What all families of pipelines have in common."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.generators.guidance import guidance_cutoff
from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    import torch

NOT_FINITE = "not finite values (NaN or infinite) in the decoded image: an overflow of the dtype"
REFUSED = "refused by the model's safety checker"
_PIXELS_DECODED_AT_ONCE = 1 << 22
"""Four images of 1024 × 1024 keep a GPU busy; in float32 they take 18 GB, and a whole batch would take most of it."""


class Family:
    """A kind of text-to-image pipeline: how it reads texts, and how its latents become images.

    Args:
        pipelines: the base pipeline and perhaps one that takes over from it, loaded.
        generation: the recipe's settings.

    Raises:
        RecipeError: this kind of pipeline cannot do what the settings ask.
    """

    pipeline_classes: ClassVar[tuple[str, ...]] = ()
    """Names of the diffusers classes of this family."""

    guided_embeddings: ClassVar[tuple[str, ...]] = ()
    """Names of the embeddings that `callback_on_step_end` must halve to switch guidance off; empty: it cannot."""

    reads_in_chunks: ClassVar[bool] = False
    """Whether `long_prompts: chunk` is possible."""

    def __init__(self, pipelines: Sequence[Any], generation: Generation) -> None:
        self.pipelines = list(pipelines)
        self.generation = generation
        self._decoded_at_once = max(1, _PIXELS_DECODED_AT_ONCE // (generation.width * generation.height))
        self._negatives: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
        if checker := getattr(self.pipeline, "safety_checker", None):
            # It says that a black image is returned; a refused one is counted, and its log is ours.
            logging.getLogger(type(checker).__module__).setLevel(logging.ERROR)
        self._check()

    @property
    def pipeline(self) -> Any:
        """The base pipeline."""
        return self.pipelines[0]

    @property
    def guided(self) -> bool:
        """Whether a second, unconditional prediction guides every step (classifier-free guidance)."""
        return self.generation.guidance_scale > 1

    def denoise(self, texts: list[str], generators: list[torch.Generator]) -> Any:
        """Latents of one image per text; noise from the generator at the same place."""
        conditions = self.conditions(self.pipeline, texts)
        return self.call(self.pipeline, generators, **conditions, **self.size, **self.cutoff()).images

    def decode(self, latents: Any) -> list[Drawn]:
        """The images of what `denoise` gave, or why they cannot be used.

        Decoding takes more memory per image than denoising, so it is done in parts; what does not fit is decoded in
        smaller ones from then on.

        Raises:
            torch.OutOfMemoryError: not even one image fits.
        """
        import torch

        images: list[Drawn] = []
        while len(images) < len(latents):
            part = latents[len(images) : len(images) + self._decoded_at_once]
            try:
                images += self._decode_part(part)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self._decoded_at_once = len(part) // 2
                torch.cuda.empty_cache()
        return images

    def _decode_part(self, latents: Any) -> list[Drawn]:
        pixels = self.pixels(latents)
        finite = pixels.isfinite().flatten(1).all(dim=1).tolist()
        refused = [False] * len(finite)
        if getattr(self.pipeline, "safety_checker", None) is not None:
            pixels, flags = self.pipeline.run_safety_checker(pixels.nan_to_num(), pixels.device, pixels.dtype)
            refused = [bool(flag) for flag in flags]
        return drawn(self.pipeline.image_processor.postprocess(pixels, output_type="pt"), finite, refused)

    def truncated(self, texts: list[str]) -> list[bool]:
        """Which texts the model does not read to their end."""
        return [length > self.context_length for length in self.token_counts(texts)]

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text, those that mark its start and end included."""
        raise NotImplementedError

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, those that mark its start and end included."""
        raise NotImplementedError

    def contexts(self, _text: str) -> int:
        """Contexts of the text encoder that a text is read in."""
        return 1

    def embed(self, pipeline: Any, texts: list[str], contexts: int) -> dict[str, torch.Tensor]:
        """What a pipeline's text encoders make of texts, under the names that its call takes; one row per text."""
        raise NotImplementedError

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's output, shape (batch, 3, height, width), about [-1, 1]."""
        raise NotImplementedError

    @property
    def size(self) -> dict[str, int]:
        """Width and height, as a call takes them."""
        return {"width": self.generation.width, "height": self.generation.height}

    def conditions(self, pipeline: Any, texts: list[str]) -> dict[str, Any]:
        """Texts, all read in as many contexts, and the negative prompt if guidance needs it, as a call takes them."""
        contexts = self.contexts(texts[0])
        embeddings = self.embed(pipeline, texts, contexts)
        if not self.guided:
            return embeddings
        negative = self.negative(pipeline, contexts)
        return embeddings | {
            f"negative_{name}": embedding.expand(len(texts), *embedding.shape[1:])
            for name, embedding in negative.items()
        }

    def negative(self, pipeline: Any, contexts: int) -> dict[str, torch.Tensor]:
        """Embeddings of the negative (or empty) prompt, one row; the same for every batch, so encoded once."""
        key = (self.pipelines.index(pipeline), contexts)
        if key not in self._negatives:
            self._negatives[key] = self.embed(pipeline, [self.generation.negative_prompt or ""], contexts)
        return self._negatives[key]

    def cutoff(self, begin: float = 0.0, end: float = 1.0) -> dict[str, Any]:
        """Arguments that end guidance when the recipe wants, for a pipeline that does [begin, end) of the steps."""
        share = (self.generation.guidance_end - begin) / (end - begin)
        if not self.guided or share >= 1:
            return {}
        return {
            "callback_on_step_end": guidance_cutoff(share, self.guided_embeddings),
            "callback_on_step_end_tensor_inputs": list(self.guided_embeddings),
        }

    def call(self, pipeline: Any, generators: list[torch.Generator], **arguments: Any) -> Any:
        """Call a pipeline for latents with the recipe's settings.

        Raises:
            RecipeError: it refuses them.
        """
        settings: dict[str, Any] = {
            "num_inference_steps": self.generation.num_inference_steps,
            "guidance_scale": self.generation.guidance_scale,
            "output_type": "latent",
        }
        if self.generation.guidance_rescale:
            settings["guidance_rescale"] = self.generation.guidance_rescale
        try:
            return pipeline(generator=generators, **{**settings, **arguments})
        except ValueError as error:
            raise RecipeError(f"generation: {type(pipeline).__name__} refuses these settings: {error}") from error

    def refuse(self, setting: str, why: str) -> None:
        """Refuse a setting that this family cannot follow."""
        raise RecipeError(f"generation.{setting}: {type(self.pipeline).__name__} {why}")

    def _check(self) -> None:
        generation = self.generation
        known = inspect.signature(self.pipeline.__call__).parameters
        for name in ("guidance_scale", "guidance_rescale", "negative_prompt"):
            given = getattr(generation, name) != Generation.model_fields[name].default
            if given and name not in known:
                self.refuse(name, "has no such parameter; remove it")
        if generation.guidance_end < 1 and not self.guided_embeddings:
            self.refuse("guidance_end", "cannot end guidance early; remove it")
        if generation.long_prompts == "chunk" and not self.reads_in_chunks:
            self.refuse(
                "long_prompts", "does not read its texts with CLIP alone: it cannot read chunks; write truncate"
            )
        for name, pixels in self.size.items():
            if pixels % self.size_multiple:
                self.refuse(name, f"draws multiples of {self.size_multiple} pixels, not {pixels}")

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of so many pixels."""
        return 8


def drawn(images: torch.Tensor, finite: Sequence[bool], refused: Sequence[bool]) -> list[Drawn]:
    """Images in [0, 1], shape (batch, 3, height, width), as bytes; rounded as diffusers rounds its PIL images."""
    import torch

    levels = (images.float().nan_to_num() * 255).round().to(torch.uint8)
    pictures = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return [
        Drawn(None, NOT_FINITE) if not is_finite else Drawn(None, REFUSED) if is_refused else Drawn(picture)
        for picture, is_finite, is_refused in zip(pictures, finite, refused, strict=True)
    ]
