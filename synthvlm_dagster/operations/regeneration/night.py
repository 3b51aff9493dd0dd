"""A night: what it may spend, and the record in the store by which one that was killed goes on."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from synthvlm_dagster.attempts.nights import add_nights_attempts, nights_attempts
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.plan import with_image_ids
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

NIGHTS = "operations/nights"

_COLUMNS = ("caption_id", "attempt", "best_score", "night")


class Limits(BaseModel):
    """How good a caption's best image has to be, and what a night may spend on those that are not."""

    model_config = ConfigDict(frozen=True)

    bar: float
    """Weighted score."""
    max_attempts: int
    """Images of a caption, of any night."""
    max_images: int
    """Of the night."""
    max_gpu_hours: float
    """Of the night."""


class Night(BaseModel):
    """What a night set out from, and what it has done so far."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The time of its beginning, UTC."""
    generator: str
    limits: Limits
    pairs_before: int | None
    """Selected when it began; None without a dataset."""
    mean_selected_before: float | None
    images_timed: int = 0
    """Images that `seconds` went into."""
    seconds: float = 0.0
    """Drawing and measuring, without the loading of models that is recorded apart."""
    load_seconds: float = 0.0
    on_gpu: bool = False
    reported: bool = False
    """It is over."""

    @property
    def spent_seconds(self) -> float:
        """All the time that is known."""
        return self.seconds + self.load_seconds

    @property
    def seconds_per_image(self) -> float | None:
        """None before the first image."""
        return self.seconds / self.images_timed if self.images_timed else None

    def worked(self, images: int, seconds: float, load_seconds: float, *, on_gpu: bool) -> Night:
        """The night after some more work."""
        return self.model_copy(
            update={
                "images_timed": self.images_timed + images,
                "seconds": self.seconds + seconds,
                "load_seconds": self.load_seconds + load_seconds,
                "on_gpu": self.on_gpu or on_gpu,
            }
        )

    def affordable(self, added: int, made: int, seconds_per_image: float | None, to_begin_with: int) -> int:
        """How many images the night may still add.

        What is added and not made yet has its time reserved.

        Args:
            added: images that the night has added to the plan.
            made: those of them that are there, or have failed.
            seconds_per_image: to draw and measure one; None: not known.
            to_begin_with: the most to add while that is not known.
        """
        images = self.limits.max_images - added
        if seconds_per_image is None:
            images = min(images, to_begin_with)
        elif seconds_per_image > 0:
            left = self.limits.max_gpu_hours * 3600 - self.spent_seconds - (added - made) * seconds_per_image
            images = min(images, int(left / seconds_per_image))
        return max(0, images)


def open_night(recipe: Recipe, storage: Storage) -> Night | None:
    """The night that has begun and not been reported, by the recipe's generator; None when there is none.

    Raises:
        StorageError: its record cannot be read.
    """
    records = storage.files(NIGHTS, ".json")
    if not records:
        return None
    try:
        night = Night.model_validate_json(storage.read_bytes(records[-1]))
    except ValidationError as error:
        raise StorageError(
            f"{storage.url(records[-1])}: is no record of a night. Delete it: the night's images are kept, and the "
            "next one begins anew"
        ) from error
    return None if night.reported or night.generator != generator_name(recipe) else night


def new_night(recipe: Recipe, storage: Storage, limits: Limits) -> Night:
    """A night that begins now; nothing is written yet."""
    pairs = mean = None
    if storage.has_table(SELECTED):
        scores = storage.scan(SELECTED).select("weighted_score").collect()["weighted_score"]
        pairs, mean = len(scores), scores.mean()
    return Night(
        name=datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S"),
        generator=generator_name(recipe),
        limits=limits,
        pairs_before=pairs,
        mean_selected_before=mean,
    )


def save_night(storage: Storage, night: Night) -> None:
    """Write the night's record, in the place of what stood there."""
    storage.write_bytes(f"{NIGHTS}/{night.name}.json", night.model_dump_json(indent=1).encode())


def add_to_night(recipe: Recipe, storage: Storage, night: Night, shard: str, attempts: pl.DataFrame) -> None:
    """Add attempts to the plan of a shard, on the account of the night.

    Args:
        recipe: names the generator.
        storage: the store.
        night: has been saved.
        shard: partition key.
        attempts: caption_id, attempt, best_score (before).
    """
    rows = attempts.with_columns(night=pl.lit(night.name)).select(*_COLUMNS)
    add_nights_attempts(recipe, storage, shard, rows)


def attempts_of_nights(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    """What all nights have added: caption_id, attempt, best_score (before), night (name), image_id."""
    return with_image_ids(nights_attempts(recipe, storage, None, _COLUMNS))
