"""What the selected pairs are written out as."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.section import Section


class LlavaExport(Section):
    """LLaVA's training layout: one JSON of conversations beside a tree of images."""

    image_size: int | None = Field(None, gt=0, description="Resize to this square, in pixels; null: as generated.")


class WebDatasetExport(Section):
    """WebDataset tar shards of KEY.jpg/.txt/.json."""

    pairs_per_tar: int = Field(10_000, gt=0, description="Pairs in one tar file.")


class Exports(Section):
    """What the selected pairs are written out as."""

    llava: LlavaExport = Field(default_factory=LlavaExport)
    webdataset: WebDatasetExport = Field(default_factory=WebDatasetExport)
