"""Texts for pipelines that read them with CLIP: cut to CLIP's context, or read in chunks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def token_counts(tokenizer: Any, texts: list[str]) -> list[int]:
    """Tokens of each text, those that mark its start and end included."""
    return [len(tokens) for tokens in tokenizer(texts, truncation=False).input_ids]


def chunk_count(tokenizer: Any, text: str) -> int:
    """Contexts of the tokenizer's length that the text fills, at least one."""
    content = tokenizer.model_max_length - 2
    return max(1, -(-len(_content(tokenizer, text)) // content))


def encode_in_chunks(
    tokenizer: Any, encoder: Any, texts: Sequence[str], chunks: int, *, layer: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode texts as several contexts each, put one after the other.

    Each chunk stands in a context of its own between CLIP's start and end tokens. Nothing in a text is taken for the
    weighting syntax of prompt languages: captions are plain text, and their brackets and plus signs are meant.

    Args:
        tokenizer: CLIP's.
        encoder: a CLIPTextModel or CLIPTextModelWithProjection.
        texts: none longer than `chunks` contexts; shorter ones are filled up with empty contexts.
        chunks: contexts per text.
        layer: index of the hidden state to take; None: the encoder's normalized output.

    Returns:
        Hidden states, shape (texts, chunks * context, width), and the encoder's first output for the first chunk of
        each text, which with a projection is the pooled embedding, shape (texts, width).
    """
    import torch

    length = tokenizer.model_max_length
    contexts = []
    for text in texts:
        tokens = _content(tokenizer, text)
        for start in range(0, chunks * (length - 2), length - 2):
            context = [tokenizer.bos_token_id, *tokens[start : start + length - 2], tokenizer.eos_token_id]
            contexts.append(context + [tokenizer.pad_token_id] * (length - len(context)))
    output = encoder(torch.tensor(contexts, device=encoder.device), output_hidden_states=True)
    states = output[0] if layer is None else output.hidden_states[layer]
    return states.reshape(len(texts), chunks * length, -1), output[0][::chunks]


def _content(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, truncation=False).input_ids
