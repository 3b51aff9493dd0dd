"""Models that compute nothing: what they draw or say follows at once from seed, text, settings and weight files.

They stand behind the protocols of the product – `images.generator.Generator`, the CLIP scorer as `scores.shard` has it,
`scores.judges.Judge`, `captions.measures.measurements.Measure` –, and `install` is all there is of a seam. What they
give depends on everything that a real model's answer depends on, so that a result of other settings always differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel

from synthvlm_dagster.captions.measures import costly
from synthvlm_dagster.captions.measures.measurements import VALUES_SCHEMA, Measure
from synthvlm_dagster.images import generators
from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.recipe import ClipScoring, Curation, Generation, Scoring
from synthvlm_dagster.scores import clip, judges, references
from synthvlm_dagster.scores.clip import ClipScores

FLAT_SHARE = 1 / 4
"""Share of the pictures that come out flat, so that they are drawn again from another seed, and at last given up."""
_MODEL_FIELDS = ("model", "pretrained", "predictor", "sentencepiece")
_WITHOUT_EFFECT = frozenset(
    {
        "accept_licence",
        "api_key_variable",
        "base_url",
        "batch_size",
        "compile",
        "concurrency",
        "content_credentials",
        "device",
        "fuse_qkv",
        "generator",
        "if_not_measured",
        "images_per_chunk",
        "licence",
        "max",
        "max_retries",
        "min",
        "preset",
        "price_per_gpu_hour",
        "price_per_million_input_tokens",
        "price_per_million_output_tokens",
        "requests_per_minute",
        "retries",
        "timeout_seconds",
    }
)
_CONCEPTS = 4
_EMBEDDING_SIZE = 8


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these models in the place of the real ones, where the product constructs them."""
    monkeypatch.setattr(generators, "DiffusersGenerator", InstantGenerator)
    monkeypatch.setattr(clip, "ClipScorer", InstantScorer)
    monkeypatch.setattr(references, "ClipScorer", InstantScorer)
    monkeypatch.setattr(judges, "recipe_judges", instant_judges)
    real_measures = costly.costly_measures

    def measures_at_once(curation: Curation) -> dict[str, Measure]:
        measures = real_measures(curation)
        for rule, measure in measures.items():
            settings = weights_and_settings(getattr(curation.rules, rule))
            template = curation.text_template if settings.get("kenlm") else ""
            measure.measure = InstantMeasure(measure, (rule, settings, template)).measure  # type: ignore[method-assign]
        return measures

    monkeypatch.setattr(costly, "costly_measures", measures_at_once)


def digest(*parts: Any) -> bytes:
    """32 bytes that follow from the parts."""
    whole = hashlib.blake2b(digest_size=32)
    for part in parts:
        content = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.digest()


def fraction(*parts: Any) -> float:
    """A number in [0, 1) that follows from the parts."""
    return int.from_bytes(digest(*parts)[:8], "big") / 2**64


def weights_and_settings(section: Any) -> Any:
    """What a model's answers depend on: its settings, with the content of files and folders in the place of paths."""
    if isinstance(section, BaseModel):
        section = section.model_dump(mode="json")
    if isinstance(section, Mapping):
        local = isinstance(model := section.get("model"), str) and Path(model).exists()
        without = _WITHOUT_EFFECT | ({"revision"} if local else set())
        return {
            name: content_of(value) if name in _MODEL_FIELDS and isinstance(value, str) else weights_and_settings(value)
            for name, value in section.items()
            if name not in without
        }
    if isinstance(section, list | tuple):
        return [weights_and_settings(value) for value in section]
    return section


def content_of(model: str) -> Any:
    """The files of a local model, by name and content; the name of any other."""
    path = Path(model)
    if not path.exists():
        return model
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [[file.name, hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()] for file in files]


class InstantGenerator:
    """A `Generator` whose pictures follow from seed, text and everything in `generation` that changes pixels."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._settings: Any = None

    def load(self, on_progress: Callable[[str], None]) -> float:
        if self._settings is not None:
            return 0.0
        self._settings = weights_and_settings(self._generation)
        # Of the file, not of the picture.
        for name in ("image_format", "image_quality"):
            del self._settings[name]
        return 0.0

    def denoise(self, texts: Sequence[str], seeds: Sequence[int]) -> list[bytes]:
        return [digest(self._settings, text, seed) for text, seed in zip(texts, seeds, strict=True)]

    def decode(self, latents: Sequence[bytes]) -> list[Drawn]:
        return [Drawn(self._picture(latent)) for latent in latents]

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        return [self._generation.long_prompts == "truncate" and len(text) > 60 for text in texts]

    def peak_memory(self) -> int | None:
        return None

    def _picture(self, latent: bytes) -> np.ndarray:
        shape = (self._generation.height, self._generation.width, 3)
        if latent[0] < 256 * FLAT_SHARE:
            return np.full(shape, latent[1], np.uint8)
        chance = np.random.default_rng(list(latent))
        grain = 8 + 100 * latent[1] / 256
        return np.clip(chance.normal(chance.uniform(60, 200, 3), grain, shape), 0, 255).astype(np.uint8)


class InstantScorer:
    """What `ClipScorer` is to the pipeline: cosines and embeddings that follow from picture, text and settings."""

    def __init__(self, clip: ClipScoring, device: str = "auto", *, clipped: bool = True, field: str = "") -> None:
        self.clip = clip
        self._settings: Any = None

    def load(self) -> None:
        self._settings = self._settings or weights_and_settings(self.clip)

    def prepare(self, image: np.ndarray) -> bytes:
        return digest(list(image.shape), image.tobytes())

    def score(self, prepared: Sequence[bytes], captions: Sequence[str]) -> ClipScores:
        scores = [fraction(self._settings, image, text) for image, text in zip(prepared, captions, strict=True)]
        return ClipScores(np.array(scores), np.stack([self._embedding(image) for image in prepared]))

    def _embedding(self, image: bytes) -> np.ndarray:
        """Close to one of a few directions, so that some pictures count as showing the same.

        Of image model and precision alone: the prefix of the text has no part in it.
        """
        weights = {name: value for name, value in self._settings.items() if name != "prompt_prefix"}
        drawn = digest(weights, image)
        direction = np.eye(_EMBEDDING_SIZE)[drawn[0] % _CONCEPTS]
        seen = direction + np.random.default_rng(list(drawn)).normal(0, 0.15, _EMBEDDING_SIZE)
        return seen / np.linalg.norm(seen)


class InstantJudge:
    """A `Judge` whose values follow from picture, text and settings."""

    def __init__(self, name: str, section: BaseModel) -> None:
        self.column = f"{name}_score"
        self.model = name
        self._section = section
        self._settings: Any = None

    def load(self) -> None:
        self._settings = self._settings or weights_and_settings(self._section)

    def prepare(self, image: np.ndarray) -> bytes:
        return digest(list(image.shape), image.tobytes())

    def score(self, prepared: Sequence[bytes], captions: Sequence[str]) -> np.ndarray:
        pairs = zip(prepared, captions, strict=True)
        return np.array([fraction(self.column, self._settings, image, text) for image, text in pairs])


def instant_judges(scoring: Scoring) -> dict[str, InstantJudge]:
    """As `recipe_judges`."""
    return {name: InstantJudge(name, settings) for name, settings in scoring.judges.on.items()}


class InstantMeasure:
    """The values of a real `Measure`, whose identity and columns stay, without its model."""

    def __init__(self, real: Measure, settings: Any) -> None:
        self._real = real
        self._settings = settings

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        values = [
            self._value(text, uri if self._real.looks_at_images else None)
            for text, uri in captions.select("text", "image_uri").iter_rows()
        ]
        rows = {"key": captions["key"], "value": values, "problem": None}
        extras = [pl.lit(1, dtype).alias(name) for name, dtype in self._real.extras.items()]
        yield pl.DataFrame(rows, schema=VALUES_SCHEMA).with_columns(extras)

    def _value(self, text: str, uri: str | None) -> float:
        number = fraction(self._settings, text, uri)
        return {"perplexity": 1 + 9000 * number, "judge": float(number < 0.8)}.get(self._real.name, number)
