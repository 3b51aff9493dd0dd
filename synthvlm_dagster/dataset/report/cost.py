"""What one selected pair cost: the time of all images that were made and measured for it, and the price of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synthvlm_dagster.orchestration.work import Work

GENERATION, SCORING = "Generation", "Scoring"


@dataclass(frozen=True)
class StageCost:
    """One stage's share.

    Attributes:
        name: of the stage.
        images: the images in the store that it worked on.
        measured: images that its rate was measured on.
        seconds_per_image: with the loading of the model.
        seconds_per_pair: seconds_per_image · images / pairs.
        dollars_per_pair: None when the recipe has no price.
    """

    name: str
    images: int
    measured: int
    seconds_per_image: float
    seconds_per_pair: float
    dollars_per_pair: float | None


@dataclass(frozen=True)
class Cost:
    """What the pairs cost.

    Attributes:
        pairs: the selected pairs.
        unit: `GPU-seconds`, or `Seconds` where no GPU was used.
        stages: those whose time is known.
        price_per_hour: dollars for an hour of one GPU; None when the recipe has no price.
    """

    pairs: int
    unit: str
    stages: tuple[StageCost, ...]
    price_per_hour: float | None

    @property
    def seconds_per_pair(self) -> float:
        """Seconds of all stages for one pair."""
        return sum(stage.seconds_per_pair for stage in self.stages)

    @property
    def dollars_per_pair(self) -> float | None:
        """Dollars of all stages for one pair; None when the recipe has no price."""
        return None if self.price_per_hour is None else self.seconds_per_pair / 3600 * self.price_per_hour


def cost_per_pair(
    work: Mapping[str, Work], images: Mapping[str, int], pairs: int, price_per_hour: float | None
) -> Cost | None:
    """Share out the time of every image over the pairs that were kept.

    Args:
        work: what each stage's shards took, as Dagster recorded it; by `GENERATION` and `SCORING`.
        images: how many images the stage has worked on that are in the store; the same keys.
        pairs: how many pairs were kept.
        price_per_hour: dollars for an hour of one GPU.

    Returns:
        None when no pair was kept, or no stage's time is known.
    """
    known = {name: done for name, done in work.items() if done.images and images.get(name)}
    if not pairs or not known:
        return None
    stages = []
    for name, done in known.items():
        per_image = (done.seconds + done.load_seconds) / done.images
        per_pair = per_image * images[name] / pairs
        dollars = None if price_per_hour is None else per_pair / 3600 * price_per_hour
        stages.append(StageCost(name, images[name], done.images, per_image, per_pair, dollars))
    unit = "GPU-seconds" if any(done.on_gpu for done in known.values()) else "Seconds"
    return Cost(pairs, unit, tuple(stages), price_per_hour)
