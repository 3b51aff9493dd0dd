"""Families that read their texts with CLIP alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from synthvlm_dagster.images.generators.clip_texts import chunk_count, token_counts
from synthvlm_dagster.images.generators.family import Family

if TYPE_CHECKING:
    import torch


class ClipFamily(Family):
    """UNets whose cross-attention takes as many tokens as there are, and CLIP, which reads 77 at a time.

    Texts of one batch that fill different numbers of CLIP's contexts are denoised apart. Filled up to a common length,
    they would look different in different company, because the UNet attends to what they are filled up with.
    """

    reads_in_chunks: ClassVar[bool] = True

    def denoise(self, texts: list[str], generators: list[torch.Generator]) -> Any:
        """Latents of one image per text; noise from the generator at the same place."""
        import torch

        rows_of: dict[int, list[int]] = {}
        for row, text in enumerate(texts):
            rows_of.setdefault(self.contexts(text), []).append(row)
        if len(rows_of) == 1:
            return self.denoise_alike(texts, generators)
        latents: list[Any] = [None] * len(texts)
        for rows in rows_of.values():
            group = [(texts[row], generators[row]) for row in rows]
            if self.generation.compile:
                # Compiled for one batch size: the group is filled up to it with copies whose images are dropped.
                copies = [(texts[rows[0]], generators[rows[0]].clone_state()) for _ in range(len(texts) - len(rows))]
                group += copies
            made = self.denoise_alike([text for text, _ in group], [generator for _, generator in group])
            for row, one in zip(rows, made, strict=False):
                latents[row] = one
        return torch.stack(latents)

    def denoise_alike(self, texts: list[str], generators: list[torch.Generator]) -> torch.Tensor:
        """Latents of texts that all fill the same number of contexts."""
        return super().denoise(texts, generators)

    def contexts(self, text: str) -> int:
        """As many as the text or the negative prompt fills; one if the recipe wants texts truncated."""
        if self.generation.long_prompts == "truncate":
            return 1
        negative = self.generation.negative_prompt if self.guided else None
        return max(chunk_count(self.tokenizer, part) for part in (text, negative or ""))

    @property
    def tokenizer(self) -> Any:
        """CLIP's; where a model has two, they split texts alike."""
        return self.pipeline.tokenizer

    @property
    def context_length(self) -> int:
        """Tokens that the model reads of a text, those that mark its start and end included."""
        return self.tokenizer.model_max_length

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, those that mark its start and end included."""
        return token_counts(self.tokenizer, texts)

    def truncated(self, texts: list[str]) -> list[bool]:
        """Which texts the model does not read to their end; none, when it reads them in chunks."""
        if self.generation.long_prompts == "chunk":
            return [False] * len(texts)
        return super().truncated(texts)
