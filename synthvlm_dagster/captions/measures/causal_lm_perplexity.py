"""Perplexity of captions under a causal language model of transformers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from synthvlm_dagster.captions.measures.measurements import VALUES_SCHEMA
from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.held import require_unchanged
from synthvlm_dagster.models.transformers import (
    check_transformers_model,
    load_transformers_model,
)
from synthvlm_dagster.progress import SECONDS_BETWEEN_REPORTS, Progress
from synthvlm_dagster.recipe import CausalLm

if TYPE_CHECKING:
    import torch

_FIELD = "curation.rules.perplexity.causal_lm"
_BATCHES_SORTED_TOGETHER = 64
_USUAL_TOKENS = 64
"""Padded tokens that a batch may have per caption of batch_size: bounds the memory that long texts take."""
_TOO_SHORT = "the text has fewer than two tokens"
_NOT_FINITE = "the model gives no finite value; try another dtype"


class CausalLmPerplexity:
    """Perplexity per token, exp of the mean negative log-likelihood, of the bare caption: at least 1.

    A `Measure`. The model reads a token of beginning first (the tokenizer's bos_token, else its
    eos_token, as lm-evaluation-harness does), so that the first token of the caption counts too; the end is not
    predicted. With a tokenizer that has neither, the first token is only read. A text longer than the model's context
    is cut off there; one of fewer than two tokens, that of beginning included, cannot be measured. The same to about
    1e-5 for every batch_size in float32.

    Raises:
        ModelError: the model is a path, and no model folder with safetensors weights is there.
    """

    name = "perplexity"
    looks_at_images = False
    extras = pl.Schema()

    def __init__(self, lm: CausalLm) -> None:
        check_transformers_model(lm.model, f"{_FIELD}.model")
        self._lm = lm
        self.identity = self._identity()

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """See `Measure`.

        Raises:
            ModelError: the model cannot be loaded, or is no causal language model.
            RecipeError: the device does not exist.
        """
        model = self._loaded
        with Progress("captions measured with the language model", on_progress, captions.height) as progress:
            measured = 0
            yielded_at = time.monotonic()
            for part in captions.iter_slices(self._lm.batch_size * _BATCHES_SORTED_TOGETHER):
                tokens = dict(zip(part["key"], model.tokenize(part["text"].to_list()), strict=True))
                done: list[tuple[str, float | None, str | None]]
                done = [(key, None, _TOO_SHORT) for key, of_text in tokens.items() if len(of_text) < 2]
                for keys in _batches(tokens, self._lm.batch_size):
                    losses = model.losses([tokens[key] for key in keys])
                    done += [_row(key, loss) for key, loss in zip(keys, losses, strict=True)]
                    progress.report(measured + len(done))
                    if time.monotonic() - yielded_at >= SECONDS_BETWEEN_REPORTS:
                        yield pl.DataFrame(done, schema=VALUES_SCHEMA, orient="row")
                        measured += len(done)
                        done = []
                        yielded_at = time.monotonic()
                if done:
                    yield pl.DataFrame(done, schema=VALUES_SCHEMA, orient="row")
                    measured += len(done)
                    yielded_at = time.monotonic()

    def _identity(self) -> str:
        lm = self._lm
        return fingerprint("causal_lm", model_identity(lm.model, lm.revision), lm.dtype)

    @cached_property
    def _loaded(self) -> _LanguageModel:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        lm = self._lm
        device = usable_device(lm.device, f"{_FIELD}.device")
        classes = (AutoModelForCausalLM, AutoTokenizer)
        model, tokenizer = load_transformers_model(
            lm.model, lm.revision, f"{_FIELD}.model", classes, "causal language model", dtype=lm.dtype
        )
        require_unchanged(f"{_FIELD}.model: {lm.model}", self.identity, self._identity())
        loaded = _LanguageModel(model.to(device, getattr(torch, lm.dtype)).eval(), tokenizer)
        if not loaded.is_causal():
            raise ModelError(
                f"{_FIELD}.model: {lm.model}: is no causal language model: what it says of a token depends on "
                "later ones. Name a model that was trained to predict the next token"
            )
        return loaded


class _LanguageModel:
    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self._prefix = [] if first is None else [first]
        limits = (getattr(model.config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
        self._context = int(min(limit for limit in limits if limit is not None))

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text behind the token of beginning, as far as the context reaches."""
        encoded = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return [(self._prefix + of_text)[: self._context] for of_text in encoded]

    def losses(self, sequences: list[list[int]]) -> list[float]:
        """Mean negative log-likelihood (nats) of each sequence's tokens after its first; at least two in each."""
        import torch

        lengths = [len(sequence) for sequence in sequences]
        ids = torch.zeros(len(sequences), max(lengths), dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        ids = ids.to(self._model.device)
        with torch.inference_mode():
            logits = self._logits(ids, mask.to(ids))
            # Row by row, because a float32 copy of all logits may not fit beside the model.
            means = [
                torch.nn.functional.cross_entropy(logits[row, : length - 1].float(), ids[row, 1:length])
                for row, length in enumerate(lengths)
            ]
            return torch.stack(means).tolist()

    def is_causal(self) -> bool:
        """Whether what follows a token leaves the prediction at that token unchanged."""
        import torch

        same_start = torch.tensor([[0, 1, 1], [0, 1, 0]], device=self._model.device)
        with torch.inference_mode():
            first, second = self._logits(same_start, torch.ones_like(same_start))[:, :2].float()
        return torch.allclose(first, second, rtol=1e-3, atol=1e-3)

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def _batches(tokens: dict[str, list[int]], batch_size: int) -> Iterator[list[str]]:
    """Keys of sequences of about the same length, the longest first, so that too large a batch shows at once."""
    batch: list[str] = []
    widest = 0
    for key in sorted(tokens, key=lambda key: len(tokens[key]), reverse=True):
        length = len(tokens[key])
        if length < 2:
            continue
        if batch and (len(batch) == batch_size or (len(batch) + 1) * widest > batch_size * _USUAL_TOKENS):
            yield batch
            batch = []
        if not batch:
            widest = length
        batch.append(key)
    if batch:
        yield batch


def _row(key: str, loss: float) -> tuple[str, float | None, str | None]:
    # NaN fails the comparison too; above 700 nats, exp leaves the range of a float.
    return (key, math.exp(loss), None) if loss < 700 else (key, None, _NOT_FINITE)
