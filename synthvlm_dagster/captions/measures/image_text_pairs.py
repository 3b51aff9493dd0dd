"""Measure captions against their original images with a model: what all such measures have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from synthvlm_dagster.captions.measures.measurements import VALUES_SCHEMA
from synthvlm_dagster.captions.measures.original_images import Opened, OriginalImages
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.progress import Progress

if TYPE_CHECKING:
    import torch

_NOT_FINITE = "the model gives no finite value; try another dtype"


class PairModel(Protocol):
    """A loaded model that says how well texts fit images."""

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """The model's input for an image: uint8, shape (height, width, 3), sRGB. Called from several threads."""
        ...

    def score(self, images: Sequence[torch.Tensor], texts: Sequence[str], image_of_text: Sequence[int]) -> np.ndarray:
        """One number for each text with its image: float64, shape (len(texts),).

        Args:
            images: prepared, each once.
            texts: one batch of captions.
            image_of_text: for each text, the index of its image.
        """
        ...


def measure_pairs(
    captions: pl.DataFrame,
    load: Callable[[], PairModel],
    batch_size: int,
    on_progress: Callable[[str], None],
) -> Iterator[pl.DataFrame]:
    """Measure captions against their images, batch by batch.

    Captions of the same image are measured together, so that it is opened and encoded once.

    Args:
        captions: key, text and image_uri (null: the caption has no image).
        load: loads the model; called only when a caption has an image.
        batch_size: captions measured together.
        on_progress: told done, total and rate every few seconds.

    Yields:
        Frames of `VALUES_SCHEMA`; a caption whose image cannot be opened has a problem in place of a value.
    """
    has_image = pl.col("image_uri").is_not_null()
    without = captions.filter(~has_image)
    if not without.is_empty():
        yield _failures(without["key"], "the caption has no image")
    pairs = captions.filter(has_image).sort(pl.int_range(pl.len()).min().over("image_uri"), maintain_order=True)
    if pairs.is_empty():
        return
    model = load()
    with Progress("captions measured against their images", on_progress, pairs.height) as progress:
        done = 0
        for opened in OriginalImages().open_all(pairs, model.prepare, batch_size):
            yield _measure(opened, model)
            done += opened.captions.height
            progress.report(done)


def _measure(opened: Opened[torch.Tensor], model: PairModel) -> pl.DataFrame:
    captions = opened.captions
    images = {uri: image for uri, image in opened.images.items() if not isinstance(image, ImageError)}
    shown = captions.filter(pl.col("image_uri").is_in(list(images)))
    hidden = captions.filter(~pl.col("image_uri").is_in(list(images)))
    failures = _failures(hidden["key"], [f"the image {opened.images[uri]}" for uri in hidden["image_uri"]])
    if shown.is_empty():
        return failures
    place = {uri: number for number, uri in enumerate(images)}
    scores = model.score(list(images.values()), shown["text"].to_list(), [place[uri] for uri in shown["image_uri"]])
    finite = np.isfinite(scores)
    values = pl.DataFrame({"key": shown["key"], "value": scores}).filter(finite)
    not_finite = _failures(shown["key"].filter(~finite), _NOT_FINITE)
    return pl.concat([values.with_columns(problem=None).cast(VALUES_SCHEMA), not_finite, failures])


def _failures(keys: pl.Series, problems: str | list[str]) -> pl.DataFrame:
    problem = pl.lit(problems) if isinstance(problems, str) else pl.Series(problems, dtype=pl.String)
    return pl.DataFrame({"key": keys}).select("key", value=None, problem=problem).cast(VALUES_SCHEMA)
