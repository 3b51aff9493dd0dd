"""A CLIP tokenizer with a small vocabulary, in which every word of the world is one token.

Byte-pair encoding (Sennrich et al., arXiv:1508.07909, §3.2) learned from the world's words until none is split;
any other text falls back to bytes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from synthvlm_dagster.demo import world

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

CONTEXT_LENGTH = 32
"""Tokens per text, start and end included; the longest caption with the scorer's prefix takes 28."""

SCORER_PREFIX = "A photo depicts "
"""What the CLIPScore of SynthVLM puts before every caption."""

_END_OF_WORD = "</w>"
_PAD, _START, _END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"


def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer of both text encoders and of the CLIP; lower-cases, pads and truncates to 32 tokens.

    The end token has the highest id, since open_clip pools the text at the largest id.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = {*world.vocabulary(), *SCORER_PREFIX.lower().split()}
    merges = _learn_merges(sorted(words))
    tokens = [_PAD, *letters, *(letter + _END_OF_WORD for letter in letters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += [_START, _END]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        bos_token=_START,
        eos_token=_END,
        unk_token=_END,
        pad_token=_PAD,
        model_max_length=CONTEXT_LENGTH,
    )


def _learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merge the most frequent neighbours (the first in order among equals) until every word is one symbol."""
    pieces = [[*word[:-1], word[-1] + _END_OF_WORD] for word in words]
    merges = []
    while pairs := Counter(pair for word in pieces for pair in itertools.pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merge(word, best) for word in pieces]
    return merges


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
