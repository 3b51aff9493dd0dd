"""How probably a caption fits its original image, as BLIP sees it."""

from __future__ import annotations

from synthvlm_dagster.captions.measures.measurements import Measure
from synthvlm_dagster.captions.rule import CostlyRule
from synthvlm_dagster.models.availability import Availability, models_available
from synthvlm_dagster.recipe import Bounds, Curation, ImageTextMatching


class ImageTextMatchingRule(CostlyRule[ImageTextMatching]):
    """Keeps captions by the probability that BLIP's matching head gives to them and their original image."""

    def measure(self, curation: Curation) -> Measure | None:
        """See `CostlyRule`."""
        from synthvlm_dagster.captions.measures.image_text_matching import BlipMatching

        settings = curation.rules[self.name]
        return BlipMatching(settings) if settings else None

    def bounds(self, settings: ImageTextMatching) -> Bounds:
        """The recipe's."""
        return settings

    def preflight(self, curation: Curation) -> Availability:
        """See `Rule`."""
        from synthvlm_dagster.captions.measures.image_text_matching import check_blip

        self.measure(curation)
        settings = curation.rules[self.name]
        check_blip(settings)
        return models_available([settings.model])


RULE = ImageTextMatchingRule(
    "image_text_matching",
    label="BLIP with the original image",
    paper="≥ 0.8",
    description="Probability that the caption fits its original image (BLIP), in [0, 1].",
)
