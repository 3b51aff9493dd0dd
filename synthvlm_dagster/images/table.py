"""The tables of generated images and of those that failed: their columns and rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from synthvlm_dagster.images.content_credentials import sign
from synthvlm_dagster.images.identity import image_seed
from synthvlm_dagster.images.provenance import Provenance, embedded, model_label
from synthvlm_dagster.recipe import Generation, Recipe

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SCHEMA = pl.Schema(
    {
        "image_id": pl.String(),
        "caption_id": pl.String(),
        "attempt": pl.Int32(),
        "seed": pl.Int64(),
        "retry": pl.Int32(),
        "text": pl.String(),
        "prompt_truncated": pl.Boolean(),
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
    "retry": "How many seeds before this one gave a picture that could not be used.",
    "text": "The caption as the generator got it.",
    "prompt_truncated": "Whether the generator read only the beginning of the caption; null: not known.",
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

FAILED_SCHEMA = pl.Schema(
    {
        "image_id": pl.String(),
        "caption_id": pl.String(),
        "attempt": pl.Int32(),
        "retry": pl.Int32(),
        "seed": pl.Int64(),
        "text": pl.String(),
        "problem": pl.String(),
    }
)
"""One row is one seed that gave no usable picture."""


class Try(NamedTuple):
    """A planned image and the seed that it is drawn from; when the picture cannot be used, another try follows."""

    image_id: str
    caption_id: str
    attempt: int
    text: str
    retry: int
    seed: int

    def again(self, recipe_seed: int) -> Try:
        """The next try."""
        retry = self.retry + 1
        return self._replace(retry=retry, seed=image_seed(recipe_seed, self.caption_id, self.attempt, retry))


class EncodedImage(NamedTuple):
    """An image file."""

    content: bytes
    width: int
    """Pixels."""
    height: int
    """Pixels."""


def image_suffix(recipe: Recipe) -> str:
    """File name suffix of the recipe's image format, without the dot: `png`, `jpg` or `webp`."""
    return "jpg" if recipe.generation.image_format == "jpeg" else recipe.generation.image_format


def tries(recipe: Recipe, images: pl.DataFrame) -> list[Try]:
    """The next try of each image.

    Args:
        recipe: gives the seed.
        images: image_id, caption_id, attempt, text, and retry: the number of the try.
    """
    columns = images.select("image_id", "caption_id", "attempt", "text", "retry")
    return [
        Try(name, caption_id, attempt, text, retry, image_seed(recipe.seed, caption_id, attempt, retry))
        for name, caption_id, attempt, text, retry in columns.iter_rows()
    ]


def image_rows(
    recipe: Recipe, tried: Sequence[Try], encoded: Sequence[EncodedImage], truncated: Sequence[bool | None]
) -> pl.DataFrame:
    """Rows of the image table.

    Args:
        recipe: that the images were made with.
        tried: what was drawn.
        encoded: in the same order, the image files.
        truncated: in the same order, whether the generator read only the beginning of the text.
    """
    generation = recipe.generation
    suffix = image_suffix(recipe)
    columns = {
        **{name: [getattr(one, name) for one in tried] for name in Try._fields},
        "prompt_truncated": truncated,
        "width": [image.width for image in encoded],
        "height": [image.height for image in encoded],
        "image": [
            {"bytes": image.content, "path": f"{one.image_id}.{suffix}"}
            for one, image in zip(tried, encoded, strict=True)
        ],
        "model": model_label(generation.model),
        "revision": generation.hub_revision,
        "refiner": model_label(generation.refiner.model) if generation.refiner else None,
        "scheduler": generation.scheduler.name if generation.scheduler else None,
        "num_inference_steps": generation.num_inference_steps,
        "guidance_scale": generation.guidance_scale,
        "negative_prompt": generation.negative_prompt,
        "dtype": generation.dtype,
    }
    return pl.DataFrame(columns, schema_overrides=dict(IMAGE_SCHEMA)).select(*IMAGE_SCHEMA)


def failed_rows(tried: Sequence[Try], problems: Sequence[str]) -> pl.DataFrame:
    """Rows of the table of failed tries, with what was wrong with each."""
    columns = {name: [getattr(one, name) for one in tried] for name in Try._fields}
    return pl.DataFrame({**columns, "problem": problems}, schema_overrides=dict(FAILED_SCHEMA)).select(*FAILED_SCHEMA)


def encode_image(
    image: Image, generation: Generation, provenance: Provenance | None = None, edits: Sequence[str] = ()
) -> EncodedImage:
    """An image in the recipe's file format.

    Args:
        image: to be stored.
        generation: names the format and its quality.
        provenance: marks the file as synthetic, and signs it if the recipe says so; None: the file says nothing. The
            pixels are the same.
        edits: for the signature, C2PA actions done to the image since a model made it.

    Raises:
        RecipeError: the recipe's content credentials cannot sign.
    """
    stream = io.BytesIO()
    options: dict[str, Any] = {} if generation.image_format == "png" else {"quality": generation.image_quality}
    if provenance:
        options |= embedded(generation.image_format, provenance)
    image.convert("RGB").save(stream, generation.image_format, **options)
    content = stream.getvalue()
    if provenance and generation.content_credentials:
        content = sign(content, generation.image_format, provenance, generation.content_credentials, edits)
    return EncodedImage(content, image.width, image.height)
