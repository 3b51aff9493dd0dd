"""Text-to-image pipelines that no other family knows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.generators.clip_texts import token_counts
from synthvlm_dagster.images.generators.family import Family, drawn

if TYPE_CHECKING:
    import torch


class _Finished(NamedTuple):
    images: torch.Tensor
    refused: list[bool]


class AnyPipeline(Family):
    """A pipeline that reads texts and decodes latents itself: `denoise` does everything but the copy to the host.

    Its images come clamped to [0, 1], so that of the values that are not finite only NaN can be seen.
    """

    def denoise(self, texts: list[str], generators: list[torch.Generator]) -> _Finished:
        """Finished images in [0, 1], shape (batch, 3, height, width), and which the safety checker refuses."""
        arguments: dict[str, Any] = {"prompt": texts, **self.size, "output_type": "pt"}
        if self.generation.negative_prompt is not None:
            arguments["negative_prompt"] = [self.generation.negative_prompt] * len(texts)
        output = self.call(self.pipeline, generators, **arguments)
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(texts)
        return _Finished(output.images, [bool(flag) for flag in flags])

    def decode(self, latents: _Finished) -> list[Drawn]:
        """The images of what `denoise` gave, or why they cannot be used."""
        finite = latents.images.isfinite().flatten(1).all(dim=1).tolist()
        return drawn(latents.images, finite, latents.refused)

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text: what its call takes by default, or else what its tokenizer does."""
        limit = inspect.signature(self.pipeline.__call__).parameters.get("max_sequence_length")
        return limit.default if limit else self.pipeline.tokenizer.model_max_length

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, those that mark its start and end included."""
        return token_counts(self.pipeline.tokenizer, texts)

    def truncated(self, texts: list[str]) -> list[bool]:
        """Which texts the model does not read to their end; none, as far as can be told without a tokenizer."""
        if getattr(self.pipeline, "tokenizer", None) is None:
            return [False] * len(texts)
        return super().truncated(texts)
