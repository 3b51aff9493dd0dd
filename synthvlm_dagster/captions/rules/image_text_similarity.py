"""How well a caption fits its original image, as CLIP sees it."""

from __future__ import annotations

from synthvlm_dagster.captions.measures.measurements import Measure
from synthvlm_dagster.captions.rule import CostlyRule
from synthvlm_dagster.models.availability import Availability, models_available
from synthvlm_dagster.recipe import Bounds, Curation, ImageTextSimilarity


class ImageTextSimilarityRule(CostlyRule[ImageTextSimilarity]):
    """Keeps captions by their cosine with the original image: the source's own where it carries one, else measured."""

    def measure(self, curation: Curation) -> Measure | None:
        """See `CostlyRule`."""
        from synthvlm_dagster.captions.measures.image_text_similarity import ClipSimilarity

        settings = curation.rules[self.name]
        return ClipSimilarity(settings) if settings and settings.model else None

    def bounds(self, settings: ImageTextSimilarity) -> Bounds:
        """The recipe's."""
        return settings

    def preflight(self, curation: Curation) -> Availability:
        """See `Rule`."""
        from synthvlm_dagster.models.open_clip import check_open_clip

        settings = curation.rules[self.name]
        if self.measure(curation) is None:
            return Availability("ok", "as far as the sources carry it")
        check_open_clip(settings.model, settings.pretrained, f"curation.rules.{self.name}")
        return models_available([settings.model])


RULE = ImageTextSimilarityRule(
    "image_text_similarity",
    label="CLIP cosine with the original image: the source's, or any open_clip model",
    paper="≥ 0.28",
    description="CLIP cosine with the original image, in [-1, 1]: the source's own, or measured.",
    carried_as="clip_similarity",
)
