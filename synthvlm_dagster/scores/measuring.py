"""Look at images once, and measure each by all that has not measured it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from synthvlm_dagster.errors import DamagedImagesError, ImageError, ModelError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.state import PlannedImages, image_batches
from synthvlm_dagster.recipe import JUDGE_SETTINGS
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.judge import JudgeModel
from synthvlm_dagster.scores.naming import reduced_size
from synthvlm_dagster.scores.prefetch import prefetched

SCORES = "scores"
EMBEDDINGS = "embeddings"
"""What is measured beside the judges, whose names are those of the recipe."""


class Picture(NamedTuple):
    """An image as the models take it."""

    image_id: str
    caption_id: str
    attempt: int
    text: str
    inputs: dict[str, Any]
    """What each judge that has not measured the image made of its pixels; and, as `embeddings`, the CLIP model."""
    ssim: float | None
    """None: the image has its scores."""


class Measuring:
    """Measures the images of one shard by CLIP, SSIM and judges."""

    def __init__(
        self,
        images: PlannedImages,
        scorer: ClipScorer,
        judges: Mapping[str, JudgeModel],
        measured: Mapping[str, set[str]],
    ) -> None:
        """
        Args:
            images: of one shard; its recipe has the settings of SSIM, and the batch size.
            scorer: the CLIP model.
            judges: by name.
            measured: for `SCORES`, `EMBEDDINGS` and each judge, the ids of the images that it has measured.
        """
        self._images = images
        self._recipe = images.recipe
        self._shard = images.shard or ""
        self._scorer = scorer
        self._judges = judges
        self._measured = measured
        self._reduced_size = reduced_size(images.recipe)

    def measure(self) -> Iterator[tuple[int, dict[str, pl.DataFrame]]]:
        """Measure, batch by batch, what is not measured; after `load_models`.

        Yields:
            Images done so far; and the new rows of `SCORES`, of `EMBEDDINGS` and of each judge, where there are any.

        Raises:
            DamagedImagesError: an image cannot be decoded; names the image and its file.
            ImageError: an image cannot be measured.
            ModelError: a model gives NaN.
        """
        complete = sorted(set.intersection(*self._measured.values()))
        rows = (
            self._images.scan()
            .filter(~pl.col("image_id").is_in(complete))
            .select("image_id", "caption_id", "attempt", "text", pl.col("image").struct.field("bytes"))
        )
        size = self._recipe.scoring.batch_size
        frames = image_batches(rows, self._shard, size)
        done = 0
        for pictures in prefetched((part for frame in frames for part in frame.iter_slices(size)), self._prepare):
            done += len(pictures)
            yield done, {**self._by_clip(pictures), **self._by_judges(pictures)}

    def load_models(self) -> None:
        """Load those that have images to measure, before many threads at once prepare images for them.

        Raises:
            ModelError: a model cannot be loaded.
        """
        images = set(self._images.present["image_id"])
        if not all(self._measured[name].issuperset(images) for name in (SCORES, EMBEDDINGS)):
            self._scorer.load()
        for name, judge in self._judges.items():
            if not self._measured[name].issuperset(images):
                judge.load()

    def _prepare(self, image_id: str, caption_id: str, attempt: int, text: str, content: bytes | None) -> Picture:
        """Decode an image, and prepare it for each model that has not seen it."""
        try:
            image = decode_image(content)
        except ImageError as error:
            raise DamagedImagesError(
                f"{self._file_of(image_id)}: image {image_id} {error}", self._shard, image_id
            ) from error
        lacking = {name for name, measured in self._measured.items() if image_id not in measured}
        inputs = {name: judge.prepare(image) for name, judge in self._judges.items() if name in lacking}
        if not lacking.isdisjoint({SCORES, EMBEDDINGS}):
            inputs[EMBEDDINGS] = self._scorer.prepare(image)
        try:
            ssim = self._ssim(image) if SCORES in lacking else None
        except ImageError as error:
            raise ImageError(f"image {image_id} of shard {self._shard}: {error}") from error
        return Picture(image_id, caption_id, attempt, text, inputs, ssim)

    def _ssim(self, image: np.ndarray) -> float:
        from synthvlm_dagster.scores.ssim import resize_ssim

        ssim = self._recipe.scoring.ssim
        return resize_ssim(image, size=self._reduced_size, channels=ssim.channels, window=ssim.window)

    def _by_clip(self, pictures: Sequence[Picture]) -> dict[str, pl.DataFrame]:
        seen = [picture for picture in pictures if EMBEDDINGS in picture.inputs]
        if not seen:
            return {}
        found = self._scorer.score([one.inputs[EMBEDDINGS] for one in seen], [one.text for one in seen])
        self._require_finite(found.scores, seen, "CLIP model", self._scorer.clip.model, "scoring.clip.dtype")
        ids = [one.image_id for one in seen]
        scores = pl.DataFrame(
            {
                "image_id": ids,
                "caption_id": [one.caption_id for one in seen],
                "attempt": pl.Series([one.attempt for one in seen], dtype=pl.Int32),
                "shard": self._shard,
                "text": [one.text for one in seen],
                "clip_score": found.scores,
                "ssim": pl.Series([one.ssim for one in seen], dtype=pl.Float64),
            }
        )
        embeddings = pl.DataFrame(
            {"image_id": ids, "embedding": pl.Series(np.ascontiguousarray(found.embeddings, np.float32))}
        )
        return self._new({SCORES: scores, EMBEDDINGS: embeddings})

    def _by_judges(self, pictures: Sequence[Picture]) -> dict[str, pl.DataFrame]:
        rows = {}
        for name, judge in self._judges.items():
            if seen := [picture for picture in pictures if name in picture.inputs]:
                values = judge.score([one.inputs[name] for one in seen], [one.text for one in seen])
                self._require_finite(values, seen, f"judge {name},", judge.model, f"scoring.judges.{name}.dtype")
                column = JUDGE_SETTINGS[name].column
                rows[name] = pl.DataFrame(
                    {"image_id": [one.image_id for one in seen], column: pl.Series(values, dtype=pl.Float64)}
                )
        return rows

    def _new(self, rows: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Without what has been measured before; tables that then have no row are left out."""
        unmeasured = {
            name: frame.filter([image_id not in self._measured[name] for image_id in frame["image_id"]])
            for name, frame in rows.items()
        }
        return {name: frame for name, frame in unmeasured.items() if not frame.is_empty()}

    def _require_finite(self, values: np.ndarray, seen: Sequence[Picture], kind: str, model: str, field: str) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            raise ModelError(
                f"image {seen[int(np.argmin(finite))].image_id} of shard {self._shard}: the {kind} {model} gives no "
                f"finite score. Use another {field}, or check the model's weights"
            )

    def _file_of(self, image_id: str) -> str:
        path = self._images.file_of(image_id) or images_table(self._recipe, self._shard)
        return self._images.storage.url(path)
