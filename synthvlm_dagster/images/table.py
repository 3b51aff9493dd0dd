"""The table of generated images: its columns, its files, and what can be read of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.identity import image_seed
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.recipe import Generation, Recipe
from synthvlm_dagster.storage import Storage

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SCHEMA = pl.Schema(
    {
        "image_id": pl.String(),
        "caption_id": pl.String(),
        "attempt": pl.Int32(),
        "seed": pl.Int64(),
        "text": pl.String(),
        "width": pl.Int32(),
        "height": pl.Int32(),
        "image": pl.Struct({"bytes": pl.Binary(), "path": pl.String()}),
        "model": pl.String(),
        "revision": pl.String(),
        "refiner": pl.String(),
        "scheduler": pl.String(),
        "num_inference_steps": pl.Int32(),
        "guidance_scale": pl.Float64(),
        "negative_prompt": pl.String(),
        "dtype": pl.String(),
    }
)

IMAGE_DESCRIPTIONS = {
    "image_id": "caption_id and two digits of attempt; unique.",
    "caption_id": "The caption that the image shows.",
    "attempt": "Which of the caption's images this is, from 0.",
    "seed": "Seed of the torch.Generator that drew the initial noise, in [0, 2**63).",
    "text": "The caption as the generator got it; its tokenizer cuts what is too long.",
    "width": "Pixels.",
    "height": "Pixels.",
    "image": "The encoded file and its name, as Hugging Face datasets store an Image.",
    "model": "Name of the diffusion model.",
    "revision": "Hub revision asked for; null: a local folder, or the newest.",
    "refiner": "Name of the refiner; null: none.",
    "scheduler": "Scheduler put in the place of the model's own; null: the model's own.",
    "num_inference_steps": "Denoising steps.",
    "guidance_scale": "Classifier-free guidance scale.",
    "negative_prompt": "What the image should not show; null: none.",
    "dtype": "Precision asked for.",
}

_UNREADABLE = (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars and pyarrow raise for bytes that are no whole parquet file (pyarrow's ArrowInvalid is a ValueError)."""


def images_table(recipe: Recipe, shard: str) -> str:
    """Path of a shard's table in the store."""
    return f"images/{generator_name(recipe)}/{shard}"


def image_suffix(recipe: Recipe) -> str:
    """File name suffix of the recipe's image format, without the dot: `png`, `jpg` or `webp`."""
    return "jpg" if recipe.generation.image_format == "jpeg" else recipe.generation.image_format


def image_rows(recipe: Recipe, planned: pl.DataFrame, encoded: Sequence[tuple[bytes, int, int]]) -> pl.DataFrame:
    """Rows of the image table.

    Args:
        recipe: that the images were made with.
        planned: one row per image: image_id, caption_id, attempt, text.
        encoded: in the same order, the bytes of the image file, and its width and height in pixels.
    """
    generation = recipe.generation
    seeds = image_seeds(recipe, planned)
    columns = {
        **planned.select("image_id", "caption_id", "attempt", "text").to_dict(as_series=False),
        "seed": seeds,
        "width": [width for _, width, _ in encoded],
        "height": [height for _, _, height in encoded],
        "image": [
            {"bytes": content, "path": f"{name}.{image_suffix(recipe)}"}
            for name, (content, _, _) in zip(planned["image_id"], encoded, strict=True)
        ],
        "model": _short(generation.model),
        "revision": generation.revision,
        "refiner": _short(generation.refiner.model) if generation.refiner else None,
        "scheduler": generation.scheduler.name if generation.scheduler else None,
        "num_inference_steps": generation.num_inference_steps,
        "guidance_scale": generation.guidance_scale,
        "negative_prompt": generation.negative_prompt,
        "dtype": generation.dtype,
    }
    return pl.DataFrame(columns, schema_overrides=dict(IMAGE_SCHEMA)).select(*IMAGE_SCHEMA)


def image_seeds(recipe: Recipe, planned: pl.DataFrame) -> list[int]:
    """Seeds of planned images, in the order of their rows."""
    return [
        image_seed(recipe.seed, caption_id, attempt)
        for caption_id, attempt in planned.select("caption_id", "attempt").iter_rows()
    ]


def encode_image(image: Image, generation: Generation) -> tuple[bytes, int, int]:
    """Bytes of an image in the recipe's file format, and its width and height in pixels."""
    stream = io.BytesIO()
    quality = {} if generation.image_format == "png" else {"quality": generation.image_quality}
    image.convert("RGB").save(stream, generation.image_format, **quality)
    return stream.getvalue(), image.width, image.height


def write_images(storage: Storage, table: str, rows: pl.DataFrame) -> None:
    """Write one chunk, whole, under a name that its image ids give: the same images never make two files."""
    storage.write_chunk(table, f"chunk-{fingerprint(rows['image_id'].to_list())}.parquet", rows)


def present_ids(storage: Storage, paths: Iterable[str]) -> dict[str, list[str] | None]:
    """The image ids in each chunk file; None where the file is no readable parquet table of images.

    Raises:
        StorageError: a file that is there cannot be fetched, which says nothing about its content.
    """
    return {path: _ids_in(storage, path) for path in paths}


def _ids_in(storage: Storage, path: str) -> list[str] | None:
    try:
        return storage.scan_files([path]).select("image_id").collect()["image_id"].to_list()
    except _UNREADABLE:
        content = storage.read_bytes(path)
    try:
        return pl.read_parquet(content, columns=["image_id"])["image_id"].to_list()
    except _UNREADABLE:
        return None


def _short(model: str) -> str:
    """A model's name without the folders of the machine that it lies on."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model
