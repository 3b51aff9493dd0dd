"""Perplexity of captions under a KenLM n-gram model over SentencePiece pieces, as Data-Juicer 1.6 measures it."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from synthvlm_dagster.captions.measures.measurements import VALUES_SCHEMA
from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.models.held import require_unchanged
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import KenLm
from synthvlm_dagster.recipe.rule import CAPTION_PLACE

_FIELD = "curation.rules.perplexity.kenlm"
_NGRAMS = f"{_FIELD}.model"
_PIECES = f"{_FIELD}.sentencepiece"
_PACKAGES = ("kenlm", "sentencepiece")
_CAPTIONS_AT_A_TIME = 8192
_WORD_START = "▁"
_LARGEST_EXPONENT = 308
_NOT_FINITE = "the n-gram model gives no finite perplexity"
_SHOWN = 300


class KenLmPerplexity:
    """Perplexity per SentencePiece piece under an n-gram model, rounded to one decimal: at least 1, 0 for no text.

    A `Measure`. With s(l) the log10 probability of line l, sentence start and end included, and
    n(l) its number of pieces, it is 10^(-Σ s(l) / Σ (n(l) + 1)). As Data-Juicer's perplexity_filter measures: the text
    as it is, neither lower-cased nor otherwise normalized before SentencePiece, inside its template; the pieces joined
    by spaces; lines as `str.splitlines` finds them in that. SentencePiece's usual normalization turns a line break
    into a space, so that `<image>` and the caption after it are one line.

    Args:
        models: the n-gram model and the SentencePiece model, as paths or URLs. What a URL names is kept in
            `$XDG_CACHE_HOME/synthvlm_dagster` (`~/.cache/synthvlm_dagster`).
        template: text that holds `{caption}`, which is measured with the caption in it; None: the bare caption.

    Raises:
        ModelError: a local file is missing, or the extra `perplexity` is not installed.
    """

    name = "perplexity"
    looks_at_images = False
    extras = pl.Schema()

    def __init__(self, models: KenLm, template: str | None = None) -> None:
        _require_packages()
        self._ngrams = _existing(models.model, _NGRAMS)
        self._pieces = _existing(models.sentencepiece, _PIECES)
        self._template = CAPTION_PLACE if template is None else template
        self.identity = self._identity()

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """See `Measure`.

        Raises:
            ModelError: a file cannot be fetched, is not a model of its kind, or the two do not belong together.
        """
        model = self._loaded
        with Progress("captions measured with KenLM", on_progress, captions.height) as progress:
            done = 0
            for part in captions.iter_slices(_CAPTIONS_AT_A_TIME):
                values = model.perplexities([self._template.replace(CAPTION_PLACE, text) for text in part["text"]])
                problems = [_NOT_FINITE if value is None else None for value in values]
                yield pl.DataFrame({"key": part["key"], "value": values, "problem": problems}, schema=VALUES_SCHEMA)
                done += part.height
                progress.report(done)

    def _identity(self) -> str:
        contents = [model_identity(place, None) for place in (self._ngrams, self._pieces)]
        return fingerprint("kenlm", contents, self._template)

    @cached_property
    def _loaded(self) -> _KenLmModel:
        model = _KenLmModel(_load_ngrams(self._ngrams), _load_pieces(self._pieces))
        require_unchanged(f"{_FIELD}: {self._ngrams} or {self._pieces}", self.identity, self._identity())
        if not model.belongs_together():
            raise ModelError(
                f"{_FIELD}: {self._ngrams} knows none of the pieces that {self._pieces} cuts a text into. Give the two "
                "models that were made together"
            )
        return model


class _KenLmModel:
    def __init__(self, ngrams: Any, pieces: Any) -> None:
        self._ngrams = ngrams
        self._pieces = pieces

    def belongs_together(self) -> bool:
        """False for an n-gram model of whole words, say, which would find every caption surprising."""
        pieces = map(self._pieces.id_to_piece, range(self._pieces.get_piece_size()))
        beginnings = [piece for piece in pieces if piece.startswith(_WORD_START)]
        return not beginnings or any(piece in self._ngrams for piece in beginnings)

    def perplexities(self, texts: list[str]) -> list[float | None]:
        return [self._perplexity(" ".join(pieces)) for pieces in self._pieces.encode(texts, out_type=str)]

    def _perplexity(self, joined: str) -> float | None:
        lines = joined.splitlines()
        log10 = sum(self._ngrams.score(line) for line in lines)
        length = sum(len(line.split()) + 1 for line in lines)
        if length == 0:
            return 0.0
        exponent = -log10 / length
        return round(10.0**exponent, 1) if math.isfinite(exponent) and exponent < _LARGEST_EXPONENT else None


def _require_packages() -> None:
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(f"{_FIELD} needs {' and '.join(missing)}: pip install 'synthvlm_dagster[perplexity]'")


def _existing(location: str, field: str) -> str:
    """A local path without its scheme, once something is there; other URLs as they are."""
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ModelError(f"{field}: {location}: cannot be opened: {error}") from error
    if not isinstance(filesystem, LocalFileSystem):
        return location
    if not Path(path).is_file():
        raise ModelError(f"{field}: {path}: no such file. Correct the path, or put the file there")
    return path


def _local_file(location: str, field: str) -> str:
    if Path(location).is_file():
        return location
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = {"cache_storage": str(home / "synthvlm_dagster"), "expiry_time": False}
    try:
        return str(fsspec.open_local(f"filecache::{location}", filecache=cache))
    except Exception as error:  # every filesystem has errors of its own
        raise ModelError(f"{field}: {location}: cannot be fetched: {_beginning(error)}. Correct the URL") from error


def _load_ngrams(location: str) -> Any:
    import kenlm

    file = _local_file(location, _NGRAMS)
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(file, config)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{_NGRAMS}: {file}: is no n-gram model that KenLM can read: {_beginning(error)}. Give an ARPA file, or "
            "what KenLM's build_binary made of one; fetch it again if it was cut off"
        ) from error


def _load_pieces(location: str) -> Any:
    import sentencepiece

    file = _local_file(location, _PIECES)
    try:
        return sentencepiece.SentencePieceProcessor(model_file=file)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{_PIECES}: {file}: is no SentencePiece model: {_beginning(error)}. Give the .model file that came with "
            "the n-gram model"
        ) from error


def _beginning(error: Exception) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
