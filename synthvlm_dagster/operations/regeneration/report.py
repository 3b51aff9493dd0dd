"""What a night improved, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from synthvlm_dagster.attempts.further_attempts import waiting
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.operations.regeneration.night import Night, attempts_of_nights
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage


@dataclass(frozen=True)
class NightReport:
    """The figures of one night.

    Attributes:
        night: its record.
        images: made and measured.
        failed: images that could not be made.
        unfinished: images still to be made or measured; 0 after a night that ended well.
        captions: that got another image.
        lifted: captions that are over the bar and were not.
        mean_best_before, mean_best_after: weighted score of the best images of these captions; before: of those that
            had one. None when there is none.
        pairs: selected now; None without a dataset.
        mean_selected_after: weighted score of the selected now.
        new_pairs: selected pairs whose image the night made.
        left: captions still under the bar.
        exhausted: those of them that have as many images as a caption may get.
        dollars: None when the recipe has no price.
    """

    night: Night
    images: int
    failed: int
    unfinished: int
    captions: int
    lifted: int
    mean_best_before: float | None
    mean_best_after: float | None
    pairs: int | None
    mean_selected_after: float | None
    new_pairs: int
    left: int
    exhausted: int
    dollars: float | None

    @property
    def title(self) -> str:
        """The night in one line."""
        return f"{self.lifted:,} of {self.captions:,} captions lifted over the bar by {self.images:,} images"

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What a person reads: name and value of each figure."""
        night = self.night
        dollars = "" if self.dollars is None else f", ${self.dollars:,.2f}"
        not_made = [(self.failed, "could not be made"), (self.unfinished, "are still to be made or measured")]
        return [
            ("Images made", f"{self.images:,}" + "".join(f"; {n:,} {what}" for n, what in not_made if n)),
            ("Captions tried again", f"{self.captions:,}"),
            (f"Lifted to {night.limits.bar:g} or more", f"{self.lifted:,}"),
            ("Mean of their best images", _change(self.mean_best_before, self.mean_best_after)),
            ("Mean of the selected pairs", _change(night.mean_selected_before, self.mean_selected_after)),
            ("Selected pairs with a new image", f"{self.new_pairs:,} of {self.pairs or 0:,}"),
            ("Cost", f"{_time(night.spent_seconds, on_gpu=night.on_gpu)}{dollars}"),
            ("Captions still under the bar", f"{self.left:,}, {self.exhausted:,} of them with all their attempts used"),
        ]

    @property
    def text(self) -> str:
        """The lines, as plain text."""
        return "\n".join(f"{name}: {value}" for name, value in self.lines)

    @property
    def markdown(self) -> str:
        """The lines, as a table of Markdown."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in self.lines)
        return f"**{self.title}** (night of {self.night.name}, UTC)\n\n| | |\n|---|---|\n{rows}\n"


def report_night(recipe: Recipe, storage: Storage, night: Night, tried: pl.DataFrame) -> NightReport:
    """Count what has become of the images of a night.

    Args:
        recipe: names the generator and the price.
        storage: the store of plan, scores and selection.
        night: its record.
        tried: all planned images, see `tried_images`, by the weighted score of the night's bar.
    """
    of_night = attempts_of_nights(recipe, storage).filter(pl.col("night") == night.name)
    new = pl.col("image_id").is_in(of_night["image_id"].implode())
    images = tried.with_columns(new=new)
    bar = night.limits.bar
    score = pl.col("weighted_score")
    captions = images.group_by("caption_id").agg(
        before=score.filter(~pl.col("new")).max(),
        after=score.max(),
        attempts=pl.col("attempt").max() + 1,
        touched=pl.col("new").any(),
    )
    touched = captions.filter("touched")
    lifted = touched.filter(pl.col("after") >= bar, (pl.col("before") < bar).fill_null(True)).height
    below = captions.filter((pl.col("after") < bar).fill_null(True))
    made = images.filter("new")
    selected = _selected(storage)
    price = recipe.generation.price_per_gpu_hour
    return NightReport(
        night=night,
        images=made["weighted_score"].count(),
        failed=int(made["failed"].sum()),
        unfinished=int(made.select(waiting().sum()).item()),
        captions=touched.height,
        lifted=lifted,
        mean_best_before=touched["before"].mean(),  # type: ignore[arg-type]  # polars: the mean may be of any type
        mean_best_after=touched["after"].mean(),  # type: ignore[arg-type]
        pairs=None if selected is None else selected.height,
        mean_selected_after=None if selected is None else selected["weighted_score"].mean(),  # type: ignore[arg-type]
        new_pairs=0 if selected is None else selected.filter(new).height,
        left=below.height,
        exhausted=below.filter(pl.col("attempts") >= night.limits.max_attempts).height,
        dollars=None if price is None else night.spent_seconds / 3600 * price,
    )


def _selected(storage: Storage) -> pl.DataFrame | None:
    if not storage.has_table(SELECTED):
        return None
    return storage.scan(SELECTED).select("image_id", "weighted_score").collect()


def _change(before: float | None, after: float | None) -> str:
    first, last = ("none" if value is None else f"{value:.4f}" for value in (before, after))
    return f"{first} → {last}"


def _time(seconds: float, *, on_gpu: bool) -> str:
    number, unit = next(
        (seconds / length, unit)
        for length, unit in ((3600, "hours"), (60, "minutes"), (1, "seconds"))
        if seconds >= length or length == 1
    )
    return f"{number:,.1f} {'GPU-' if on_gpu else ''}{unit}"
