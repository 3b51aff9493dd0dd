"""The numbers and examples of the report, read from the tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from synthvlm_dagster.attempts.nights import nights_attempts
from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.captions.kept_by_template import read_kept_by_template
from synthvlm_dagster.captions.summaries import kept_text
from synthvlm_dagster.dataset.attempt_savings import attempt_savings
from synthvlm_dagster.dataset.audit import REASONS
from synthvlm_dagster.dataset.coverage import score_coverage
from synthvlm_dagster.dataset.made_with import recipe_as_made
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.report.charts import Distribution, Point, round_step
from synthvlm_dagster.dataset.set_aside import set_aside_counts, set_aside_reasons
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.orchestration.one_run import changes
from synthvlm_dagster.recipe import JUDGE_SETTINGS, Recipe
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster.store.storage import Storage

MEASURES = {"clip_score": "CLIPScore", "ssim": "SSIM", "weighted_score": "Weighted score"}
"""Score columns and what people call them."""

JUDGES = {judge.column: judge.label for judge in JUDGE_SETTINGS.values()}
"""Columns of the held-out judges and what people call them."""

_BINS = 30
_POINTS_PER_GROUP = 600
_EXAMPLES_PER_RULE = 4


@dataclass(frozen=True)
class Step:
    """One bar of the funnel.

    Attributes:
        name: what is counted.
        count: how many there are.
        share: of the largest bar with the same unit, in [0, 1].
        note: what happened to the others.
    """

    name: str
    count: int
    share: float
    note: str


@dataclass(frozen=True)
class RejectedCaption:
    """An example: the caption, or why there is none; where it came from; the measured value, when the rule has one."""

    text: str
    source: str
    value: float | None


@dataclass(frozen=True)
class Rule:
    """A curation rule with what it rejected."""

    name: str
    bounds: str
    count: int
    share: float
    examples: tuple[RejectedCaption, ...]


@dataclass(frozen=True)
class Average:
    """Mean and median of a measure over a group; None when the group is empty."""

    mean: float | None
    median: float | None


@dataclass(frozen=True)
class Comparison:
    """One measure over all scored images, the selected ones and those left out."""

    label: str
    everything: Average
    selected: Average
    left_out: Average

    @property
    def groups(self) -> tuple[Average, Average, Average]:
        """All, selected, left out."""
        return self.everything, self.selected, self.left_out

    @property
    def gain(self) -> float | None:
        """Mean of the selected minus mean of all."""
        if self.selected.mean is None or self.everything.mean is None:
            return None
        return self.selected.mean - self.everything.mean


@dataclass(frozen=True)
class Facts:
    """Everything on the page but pictures.

    Attributes:
        captions: funnel of captions.
        images: funnel of images.
        rules: curation rules that rejected something, the strictest first.
        kept_by_text: share of the captions that the ratio rules keep, by the form of the text that is measured; the
            recipe's own form comes first.
        comparisons: one per measure of `MEASURES`, then one per held-out judge of the recipe.
        distributions: one per measure of `MEASURES`; empty when nothing was scored.
        points: a pseudo-random sample of scored images, (CLIPScore, SSIM).
        lowest_selected: smallest weighted score among the selected pairs.
        set_aside: one per part of the audit: how many images, their share of the scored ones, and why.
        unscored: a sentence on the planned images without a score, where the recipe allows some and there are any.
        set_for_one_run: what a run that made these tables was told otherwise than the recipe says.
    """

    captions: tuple[Step, ...]
    images: tuple[Step, ...]
    rules: tuple[Rule, ...]
    kept_by_text: dict[str, float]
    comparisons: tuple[Comparison, ...]
    distributions: tuple[Distribution, ...]
    points: tuple[Point, ...]
    lowest_selected: float | None
    set_aside: tuple[Step, ...] = ()
    unscored: str | None = None
    set_for_one_run: tuple[str, ...] = ()


def scored_pairs(recipe: Recipe, storage: Storage) -> pl.LazyFrame:
    """Every scored image: image_id, caption_id, shard, attempt, text, the columns of `MEASURES`, rank, reason.

    rank is null for images that were not selected, and reason, one of `REASONS`, for those that no audit set aside.
    Rows with a score that is not a number are left out. The held-out judges that the recipe has follow, each a column
    that is null where it measured nothing.
    """
    judges = recipe.scoring.judges.columns
    return (
        read_scores(recipe, storage)
        .select("image_id", "caption_id", "shard", "attempt", "text", "clip_score", "ssim", *judges)
        .filter(pl.col("clip_score").is_finite() & pl.col("ssim").is_finite())
        .with_columns(weighted_score(recipe.selection.ssim_weight))
        .join(storage.scan(SELECTED).select("image_id", "rank"), on="image_id", how="left")
        .join(set_aside_reasons(recipe, storage), on="image_id", how="left")
    )


def gather_facts(recipe: Recipe, storage: Storage) -> Facts:
    """Read what the page shows from the tables of a finished pipeline.

    They are described by what they were made with, where a run had settings of its own (see `one_run`).

    Raises:
        StorageError: a table is missing.
    """
    made = recipe_as_made(recipe, storage)
    set_for_one_run = tuple(map(str, changes(recipe, made)))
    recipe = made
    scored = scored_pairs(recipe, storage)
    selected = pl.col("rank").is_not_null()
    labels = MEASURES | {column: JUDGES[column] for column in recipe.scoring.judges.columns}
    averages = scored.select(
        function(pl.col(column).fill_nan(None).filter(condition)).alias(f"{column} {group} {name}")
        for column in labels
        for group, condition in (("all", pl.lit(True)), ("selected", selected), ("left", ~selected))
        for name, function in (("mean", pl.Expr.mean), ("median", pl.Expr.median))
    ).collect()
    lowest = scored.filter(selected).select(pl.col("weighted_score").min()).collect().item()
    return Facts(
        captions=_caption_steps(storage),
        images=_image_steps(recipe, storage, scored),
        rules=_rules(recipe, storage),
        kept_by_text=read_kept_by_template(storage),
        comparisons=tuple(
            Comparison(
                label,
                *(
                    Average(averages[f"{column} {group} mean"].item(), averages[f"{column} {group} median"].item())
                    for group in ("all", "selected", "left")
                ),
            )
            for column, label in labels.items()
        ),
        distributions=tuple(
            distribution
            for column, label in MEASURES.items()
            if (distribution := _distribution(scored, column, label)) is not None
        ),
        points=_points(scored),
        lowest_selected=lowest,
        set_aside=_set_aside(recipe, storage),
        unscored=_unscored(recipe, storage),
        set_for_one_run=set_for_one_run,
    )


def _count(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())


def _caption_steps(storage: Storage) -> tuple[Step, ...]:
    raw, curated, rejected = (_count(storage.scan(f"captions/{name}")) for name in ("raw", "curated", "rejected"))
    planned = storage.scan("plans/attempts").select(pl.col("caption_id").n_unique()).collect().item()
    steps = (
        ("Captions found", raw, "as read from the sources"),
        ("Captions kept", curated, f"{rejected:,} rejected by curation"),
        (
            "Captions synthesized",
            planned,
            f"{curated - planned:,} kept captions are beyond the recipe's limit"
            if planned < curated
            else "every caption that was kept",
        ),
    )
    return tuple(Step(name, count, count / max(raw, 1), note) for name, count, note in steps)


def _image_steps(recipe: Recipe, storage: Storage, scored: pl.LazyFrame) -> tuple[Step, ...]:
    images = planned_images(recipe, storage)
    planned, generated, failed, missing = (
        images.progress().select(pl.col("planned", "present", "failed", "missing").sum()).row(0)
    )
    measured, captions = scored.select(pl.len(), pl.col("caption_id").n_unique().alias("captions")).collect().row(0)
    chosen = _count(storage.scan(SELECTED))
    steps = (
        ("Images planned", planned, recipe.attempts.in_words + _added_at_night(images)),
        ("Images generated", generated, _ungenerated(failed, missing)),
        ("Images scored", measured, _lacking(generated - measured, "without a score") + _saved(recipe, scored)),
        (
            "Pairs selected",
            chosen,
            f"{chosen / captions:.1%} of the scored captions{_audited(recipe, storage)}" if captions else "",
        ),
    )
    largest = max(count for _, count, _ in steps)
    return tuple(Step(name, count, count / max(largest, 1), note) for name, count, note in steps)


def _added_at_night(images: PlannedImages) -> str:
    """How many of the planned images were added at night; empty when none were."""
    added = nights_attempts(images.recipe, images.storage)
    count = images.plan.join(added, on=["caption_id", "attempt"], how="semi").height
    return f", and {count:,} more at night" if count else ""


def _saved(recipe: Recipe, scored: pl.LazyFrame) -> str:
    """What adaptive best-of-N saved; empty for a recipe with a fixed number of attempts."""
    if not recipe.attempts.adaptive:
        return ""
    weighted = weighted_score(recipe.attempts.ssim_weight)
    savings = attempt_savings(scored.select("caption_id", "attempt", weighted).collect())
    if savings is None:
        return ""
    count, than = f"{abs(savings.saved):,}", "fewer" if savings.saved >= 0 else "more"
    return f"; about {count} {than} than {savings.fixed_attempts:.1f} for each caption, with the same mean of the best"


def _audited(recipe: Recipe, storage: Storage) -> str:
    """How many images the audit set aside, by reason; empty for a strategy without one."""
    counts = set_aside_counts(recipe, storage)
    if not counts:
        return ""
    by_reason = ", ".join(f"{count:,} {_in_words(reason)}" for reason, count in counts.items())
    return f"; the audit set {sum(counts.values()):,} images aside: {by_reason}"


def _set_aside(recipe: Recipe, storage: Storage) -> tuple[Step, ...]:
    counts = set_aside_counts(recipe, storage)
    if not counts:
        return ()
    scored = _count(read_scores(recipe, storage))
    return tuple(
        Step(_in_words(reason).capitalize(), count, count / max(scored, 1), REASONS[reason])
        for reason, count in counts.items()
    )


def _in_words(reason: str) -> str:
    return reason.replace("_", " ")


def _unscored(recipe: Recipe, storage: Storage) -> str | None:
    """Number and share of the planned images without a score; None where all have one, or where all must."""
    allowed = recipe.selection.allow_missing
    if not allowed:
        return None
    coverage = score_coverage(recipe, storage)
    if not coverage.lacking:
        return None
    share = f"{coverage.missing_share:.2%}" if coverage.missing_share >= 0.0001 else "less than 0.01%"
    return (
        f"{coverage.lacking:,} of the {coverage.awaited:,} planned images that could be made ({share}) have no score "
        f"and took no part in the selection; the recipe allows {100 * allowed:g}%."
    )


def _ungenerated(failed: int, missing: int) -> str:
    """What became of the planned images that are not there."""
    counts = ((failed, "could not be made"), (missing, "still missing"))
    return ", ".join(f"{count:,} {what}" for count, what in counts if count) or "complete"


def _lacking(count: int, what: str) -> str:
    return f"{count:,} {what}" if count > 0 else "complete"


def _rules(recipe: Recipe, storage: Storage) -> tuple[Rule, ...]:
    rejected = storage.scan("captions/rejected")
    counts = rejected.group_by("rejected_by").len().sort("len", "rejected_by", descending=[True, False]).collect()
    total = counts["len"].sum()
    schema = rejected.collect_schema()
    rules = []
    for name, count in counts.iter_rows():
        has_number = name in schema and schema[name].is_numeric()
        value = pl.col(name).cast(pl.Float64) if has_number else pl.lit(None, pl.Float64)
        examples = (
            rejected.filter(pl.col("rejected_by") == name)
            .bottom_k(_EXAMPLES_PER_RULE, by="caption_id")
            .select(pl.coalesce("text", "problem").fill_null(""), "source", value.alias("value"))
            .collect()
        )
        rules.append(
            Rule(
                name=name,
                bounds=f"kept: {kept}" if (kept := kept_text(recipe.curation, name)) else "",
                count=count,
                share=count / total,
                examples=tuple(RejectedCaption(**row) for row in examples.iter_rows(named=True)),
            )
        )
    return tuple(rules)


def _distribution(scored: pl.LazyFrame, column: str, label: str) -> Distribution | None:
    selected = pl.col("rank").is_not_null()
    low, high, mean, mean_of_selected = (
        scored.select(
            low=pl.col(column).min(),
            high=pl.col(column).max(),
            mean=pl.col(column).mean(),
            mean_of_selected=pl.col(column).filter(selected).mean(),
        )
        .collect()
        .row(0)
    )
    if low is None:
        return None
    step = round_step(max(high - low, 1e-6), _BINS)
    first = math.floor(low / step)
    bins = math.floor(high / step) - first + 1
    counts = (
        scored.group_by(((pl.col(column) / step).floor() - first).cast(pl.Int64).clip(0, bins - 1).alias("bin"))
        .agg(everything=pl.len(), selected=selected.sum())
        .collect()
    )
    complete = pl.DataFrame({"bin": range(bins)}, schema={"bin": pl.Int64}).join(counts, on="bin", how="left")
    complete = complete.sort("bin").fill_null(0)
    return Distribution(
        label=label,
        low=first * step,
        step=step,
        everything=tuple(complete["everything"]),
        selected=tuple(complete["selected"]),
        mean_of_everything=mean,
        mean_of_selected=mean_of_selected,
    )


def _points(scored: pl.LazyFrame) -> tuple[Point, ...]:
    # image_ids begin with a hash of the caption, so that the smallest are a fair sample.
    selected = pl.col("rank").is_not_null()
    samples = [
        scored.filter(condition)
        .bottom_k(_POINTS_PER_GROUP, by="image_id")
        .select("clip_score", "ssim", chosen=selected)
        for condition in (~selected, selected)
    ]
    return tuple(Point(*row) for row in pl.concat(samples).collect().iter_rows())
