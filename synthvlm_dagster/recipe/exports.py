"""What the selected pairs are written out as."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from synthvlm_dagster.recipe.section import Section


class LlavaExport(Section):
    """LLaVA's training layout: one JSON of conversations beside a tree of images."""

    image_size: int | None = Field(
        None, gt=0, le=8192, description="Resize to this square, in pixels; null: as generated."
    )


class WebDatasetExport(Section):
    """WebDataset tar shards of KEY.jpg/.txt/.json."""

    pairs_per_tar: int = Field(10_000, gt=0, description="Pairs in one tar file.")


class HuggingFaceExport(Section):
    """A dataset folder for the Hugging Face hub: parquet files, a dataset card, Croissant metadata."""

    megabytes_per_file: float = Field(500, gt=0, description="Size at which a parquet file ends and the next begins.")


class Exports(Section):
    """What the selected pairs are written out as; null switches an export off."""

    licence: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.+-]*$",
        description="Licence that you publish the dataset under, by its identifier on the Hugging Face hub such as "
        "cc-by-4.0; null: not stated.",
    )
    creator: str | None = Field(None, description="Organization that publishes the dataset, for its metadata.")
    url: str | None = Field(
        None, pattern=r"^https?://[^\s<>\"'\\]+$", description="Where the dataset is published, for its metadata."
    )
    published: date | None = Field(
        None,
        description="Day of publication, such as 2026-11-30, for the dataset's metadata; null: not stated.",
    )
    llava: LlavaExport | None = Field(default_factory=LlavaExport)
    webdataset: WebDatasetExport | None = Field(default_factory=WebDatasetExport)
    huggingface: HuggingFaceExport | None = Field(default_factory=HuggingFaceExport)
