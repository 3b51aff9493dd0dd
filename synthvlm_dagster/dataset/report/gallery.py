"""Pairs to look at: small pictures with their captions and scores."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import polars as pl
from PIL import Image

from synthvlm_dagster.dataset.audit import REASONS
from synthvlm_dagster.dataset.pairs import with_images
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import open_image
from synthvlm_dagster.images.damage import decoded
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

THUMBNAIL_SIDE = 160
"""Longest side of a picture on the page, in pixels."""

_QUALITY = 80
_SET_ASIDE_PER_REASON = 6


@dataclass(frozen=True)
class Pair:
    """One picture of a gallery.

    Attributes:
        image_id: identity of the image.
        text: its caption, as it is.
        clip_score: in [0, 1].
        ssim: in [-1, 1].
        weighted_score: CLIPScore + λ · SSIM.
        rank: from 1; None when it was not selected.
        reason: why the audit set it aside, one of `REASONS`; None when it did not.
        thumbnail: `data:` URI of the shrunken image.
    """

    image_id: str
    text: str
    clip_score: float
    ssim: float
    weighted_score: float
    rank: int | None
    reason: str | None
    thumbnail: str


@dataclass(frozen=True)
class Gallery:
    """Pairs that belong together, in the order in which they are shown."""

    title: str
    note: str
    pairs: tuple[Pair, ...]


def gather_galleries(recipe: Recipe, storage: Storage, scored: pl.LazyFrame) -> tuple[Gallery, ...]:
    """The best and the last of the selected, the best that the audit set aside, the lowest of those left out.

    Galleries without pairs are skipped.

    Args:
        scored: as `scored_pairs` gives it.

    Raises:
        StorageError: an image is missing from the store.
        DamagedImagesError: an image cannot be decoded; says which.
    """
    left_out = pl.col("rank").is_null()
    chosen = scored.filter(~left_out)
    best = chosen.bottom_k(24, by="rank").collect().sort("rank")
    last = chosen.join(best.lazy(), on="image_id", how="anti").top_k(12, by="rank").collect().sort("rank")
    aside = [
        scored.filter(pl.col("reason") == reason).top_k(_SET_ASIDE_PER_REASON, by=["weighted_score", "image_id"])
        for reason in REASONS
    ]
    set_aside = pl.concat(aside).collect().sort("weighted_score", "image_id", descending=[True, False])
    worst = scored.filter(left_out).bottom_k(24, by=["weighted_score", "image_id"]).collect()
    groups = (
        ("Best of the selected", "The pairs with the highest ranks.", best),
        ("Last of the selected", "The pairs that were only just good enough.", last),
        (
            "Set aside",
            "What the audit took out of the running: for each reason the highest weighted scores.",
            set_aside,
        ),
        ("Left out", "The lowest weighted scores of all.", worst.sort("weighted_score", "image_id")),
    )
    frames = [frame for _, _, frame in groups]
    thumbnails = _thumbnails(recipe, storage, pl.concat(frames).select("image_id", "shard").unique())
    return tuple(
        Gallery(title, note, tuple(as_pair(row, thumbnails) for row in frame.iter_rows(named=True)))
        for title, note, frame in groups
        if frame.height
    )


def thumbnail(content: bytes, image_id: str, shard: str, quality: int = _QUALITY) -> str:
    """An encoded image as a `data:image/webp` URI of some quality (0–100), no side longer than `THUMBNAIL_SIDE`.

    Raises:
        DamagedImagesError: the image cannot be decoded; names `image_id` and `shard`.
    """
    with decoded(image_id, shard), open_image(content) as image:
        try:
            image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
            small = image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"cannot be decoded: {error}") from error
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    small.save(encoded, format="webp", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def as_pair(row: dict[str, Any], thumbnails: dict[str, str]) -> Pair:
    """A row of `scored_pairs` with its picture from image_id → `data:` URI."""
    fields = ("image_id", "text", "clip_score", "ssim", "weighted_score", "rank", "reason")
    return Pair(**{name: row[name] for name in fields}, thumbnail=thumbnails[row["image_id"]])


def _thumbnails(recipe: Recipe, storage: Storage, pairs: pl.DataFrame) -> dict[str, str]:
    return {
        image_id: thumbnail(image["bytes"], image_id, shard)
        for batch in with_images(recipe, storage, pairs)
        for image_id, shard, image in batch.select("image_id", "shard", "image").iter_rows()
    }
