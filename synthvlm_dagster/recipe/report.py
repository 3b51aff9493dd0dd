"""What the quality report shows, and what it compares the selected pairs with."""

from __future__ import annotations

from pydantic import Field

from synthvlm_dagster.recipe.section import Section
from synthvlm_dagster.recipe.sources import CaptionSource


class ReportPage(Section):
    """The page that people look at."""

    gallery_pairs: int = Field(
        400,
        ge=0,
        le=2000,
        description="Pairs in the searchable gallery, half of them selected; fewer where their pictures need more than "
        "3 MB.",
    )


class ComparisonDataset(CaptionSource):
    """Another dataset of images and captions, measured as the generated images are."""

    sample: int = Field(
        1000, gt=0, description="Pairs measured: a seeded choice of the rows that have a caption and an image."
    )
