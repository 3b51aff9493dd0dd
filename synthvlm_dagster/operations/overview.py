"""What the terminal shows of a pipeline: the plan before a run, the steps during it, the results after it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import dagster as dg
import polars as pl
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from synthvlm_dagster.attempts.further_attempts import attempts_still_possible
from synthvlm_dagster.attempts.state import State
from synthvlm_dagster.captions.summaries import rejections_by_rule
from synthvlm_dagster.captions.tables import CURATED, RAW, REJECTED
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.dataset.made_from import Origins
from synthvlm_dagster.dataset.report.facts import Facts, gather_facts
from synthvlm_dagster.dataset.report.page import PAGE
from synthvlm_dagster.dataset.withdrawn import withdrawn
from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.images.naming import generator_name, images_table
from synthvlm_dagster.images.plan import PLAN_TABLE
from synthvlm_dagster.markdown import shortened
from synthvlm_dagster.operations.estimate import Estimate, estimate_images
from synthvlm_dagster.operations.failures import failure_in_words
from synthvlm_dagster.operations.run import Pipeline, Step
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import scorer_name, scores_table
from synthvlm_dagster.store.failed_checks import refused_shards, why_refused, why_unchecked
from synthvlm_dagster.store.storage import Storage

_OWN_SCORES = ("clip_score", "ssim", "weighted_score")
_UP_TO_THE_PAIRS = ("raw_captions", "curated_captions", "rejected_captions", "planned_attempts", "selected_pairs")
_REFUSED_NAMED = 3
_UP_TO_DATE = "[green]up to date[/]"


def print_plan(pipeline: Pipeline, console: Console) -> None:
    """Print what exists and what a run would make."""
    recipe = pipeline.recipe
    console.print(f"[bold]{recipe.name}[/]  {escape(recipe.description)}", end="\n\n")
    state = pipeline.state() if pipeline.storage.has_table(PLAN_TABLE) else None
    reasons = pipeline.outdated(key for key in pipeline.asset_keys() if not pipeline.is_partitioned(key))
    first = _made_first(pipeline, reasons)
    for name, value in _plan_lines(pipeline, state, first.get(pipeline.dataset.key("generated_images"))):
        console.print(f"  {name:<12}", end="")
        console.print(value, markup=False)
    table = Table("asset", "state", box=None, padding=(0, 3, 0, 2), header_style="bold")
    before: list[str] | None = []
    for key in pipeline.asset_keys():
        follows = f"[yellow]may change[/]: {first[key]} is made first" if key in first else _UP_TO_DATE
        if pipeline.is_partitioned(key):
            shards = pipeline.shards_with_work(key, state) if state else None
            # What a shard's images are not made yet cannot be measured yet.
            before = None if shards is None or before is None else sorted({*before, *shards})
            table.add_row(key.to_user_string(), follows if before == [] else _state_of_shards(before))
        else:
            reason = reasons.get(key)
            table.add_row(key.to_user_string(), f"[yellow]to make[/]: {escape(reason)}" if reason else follows)
    console.print()
    console.print(table)


def _made_first(pipeline: Pipeline, reasons: Collection[dg.AssetKey]) -> dict[dg.AssetKey, str]:
    """Of each asset that goes back to one to be made, which is made first of those; what comes out decides of it."""
    first: dict[dg.AssetKey, str] = {}
    for key in pipeline.asset_keys():
        for parent in pipeline.parents(key):
            if found := first.get(parent) or (parent.to_user_string() if parent in reasons else None):
                first.setdefault(key, found)
    return first


def _plan_lines(pipeline: Pipeline, state: State | None, first: str | None) -> list[tuple[str, str]]:
    recipe, storage = pipeline.recipe, pipeline.storage
    generation = recipe.generation
    lines = [
        ("storage", storage.url()),
        ("generator", f"{generator_name(recipe)}, {generation.width} × {generation.height}"),
        ("scorer", scorer_name(recipe)),
    ]
    if state is None:
        sources = ", ".join(source.name for source in recipe.sources)
        limit = recipe.attempts.max_captions
        captions = f"at most {limit:,} captions" if limit else "every caption kept"
        found = _captions_found(storage) or f"not read yet; sources: {sources}"
        lines.append(("captions", found))
        lines.append(("images", f"{recipe.attempts.in_words}; {captions}, in {recipe.shards} shards"))
        return lines
    progress = state.images.progress()
    unfinished = progress.filter(pl.col("missing") > 0)["shard"].to_list()
    lines.append(("captions", _captions_found(storage)))
    so_far = f" as it stands; {first} is made first and may change that" if first else ""
    lines.append(("images", f"{progress['planned'].sum():,} planned, {progress['missing'].sum():,} to make{so_far}"))
    if recipe.attempts.adaptive and (more := attempts_still_possible(state.tried(), recipe.attempts)):
        lines.append(("more images", f"at most {more:,}: {recipe.attempts.in_words}"))
    if failed := int(progress["failed"].sum()):
        lines.append(("failed", f"{failed:,} images could not be made; more generation.retries try other seeds"))
    if to_make := int(progress["missing"].sum()):
        lines += _estimate_lines(estimate_images(pipeline.dataset, pipeline.instance, to_make))
    if places := withdrawn(recipe, storage):
        lines.append(("to delete", f"{', '.join(places)}: the recipe does without"))
    if unfinished:
        lines.append(("shards", f"{len(unfinished)} of {recipe.shards} unfinished: {_shorten(unfinished)}"))
    return lines + _refusals(recipe, storage, unfinished)


def _refusals(recipe: Recipe, storage: Storage, unfinished: Collection[str]) -> list[tuple[str, str]]:
    """Why checks hold shards back, the first few of each asset: they refused them, or complete ones wait for theirs."""
    lines = []
    for table in (images_table(recipe), scores_table(recipe)):
        held = []
        for shard in sorted(refused_shards(storage, table).intersection(recipe.shard_keys)):
            place = f"{table}/{shard}"
            if reason := why_refused(storage, place) or (shard not in unfinished and why_unchecked(storage, place)):
                held.append(f"{place}: {reason}")
        more = len(held) - _REFUSED_NAMED
        lines += [("held back", each) for each in held[:_REFUSED_NAMED]]
        lines += [("held back", f"{table}: {more} more shards")] if more > 0 else []
    return lines


def _estimate_lines(estimate: Estimate) -> list[tuple[str, str]]:
    if estimate.gpu_hours is None:
        return [("time", "unknown until a shard has been made; try one with --shards")]
    cost = "" if estimate.dollars is None else f", ${estimate.dollars:,.2f}"
    lines = [("time", f"{_hours(estimate.gpu_hours)}{cost}, as the last {estimate.measured:,} images took")]
    if estimate.bytes is not None:
        lines.append(("room", f"{decimal(round(estimate.bytes))} more in the storage"))
    return lines


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} GPU-hours"
    return f"{hours * 60:.1f} GPU-minutes" if hours * 60 >= 1 else f"{hours * 3600:.1f} GPU-seconds"


def _captions_found(storage: Storage) -> str:
    """What curation kept of the captions; empty when it has not run yet."""
    if not all(storage.has_table(table) for table in (RAW, CURATED)):
        return ""
    return f"{_count(storage, RAW):,} found, {_count(storage, CURATED):,} kept by curation"


def _state_of_shards(shards: list[str] | None) -> str:
    if shards is None:
        return "[yellow]to make[/]: every shard"
    return f"[yellow]to make[/]: {len(shards)} shards ({_shorten(shards)})" if shards else _UP_TO_DATE


def print_step(step: Step, console: Console) -> None:
    """Announce a run before it is launched."""
    names = ", ".join(key.to_user_string() for key in step.assets)
    console.print(f"\n[bold]{names}[/]  [dim]{step.reason}[/]")


def print_causes(pipeline: Pipeline, failed_runs: Iterable[str], console: Console) -> None:
    """Print why runs failed: the log has scrolled past, or goes elsewhere."""
    for run_id in failed_runs:
        console.print(f"\n{failure_in_words(pipeline.instance, run_id)}", markup=False)


def print_results(pipeline: Pipeline, console: Console) -> None:
    """Print counts per step, mean scores, and where the dataset is; as far as the pipeline has come."""
    recipe, storage = pipeline.recipe, pipeline.storage
    if not storage.has_table("dataset/selected"):
        _print_curation(recipe, storage, console)
        return
    console.print(f"\n[bold]{recipe.name}[/]  {escape(recipe.description)}\n")
    if reason := _why_earlier(recipe, storage):
        _print_earlier(recipe, storage, reason, console)
        return
    facts = gather_facts(recipe, storage)
    for step in (*facts.captions, *facts.images):
        console.print(f"  {step.name:<22}{step.count:>9,}   [dim]{step.note}[/]")
    console.print()
    console.print(_score_table(facts))
    console.print()
    for name, path in _locations(recipe).items():
        if storage.files(path):
            console.print(f"  {name:<26}{storage.url(path)}", markup=False)


def _why_earlier(recipe: Recipe, storage: Storage) -> str | None:
    """Why the selected pairs are not the recipe's, where a table they go back to or they themselves are outdated."""
    origins = Origins(recipe, storage)
    for asset in _UP_TO_THE_PAIRS:
        try:
            reason = origins.why_outdated(asset)
        except SynthVLMError as error:
            reason = str(error)
        if reason:
            return reason if asset == "selected_pairs" else f"{asset}: {reason}"
    return None


def _print_earlier(recipe: Recipe, storage: Storage, reason: str, console: Console) -> None:
    """Print what stands of a dataset that the recipe would not make any more, with its own figures alone."""
    figures = storage.scan("dataset/selected").select(pl.len(), *(pl.col(name).mean() for name in _OWN_SCORES))
    pairs, *means = figures.collect().row(0)
    told = ", ".join(f"{name} {_number(mean)}" for name, mean in zip(_OWN_SCORES, means, strict=True))
    console.print(f"  [yellow]The dataset that stands is an earlier one[/]: {escape(reason)}")
    console.print(f"  It has {pairs:,} pairs, with the means {told}\n")
    for name, path in _locations(recipe).items():
        if storage.files(path):
            console.print(f"  {name:<26}{storage.url(path)}  (earlier)", markup=False)


def _print_curation(recipe: Recipe, storage: Storage, console: Console) -> None:
    if not storage.has_table(CURATED):
        return
    console.print(f"\n  {_captions_found(storage)}\n")
    table = Table("rule", "rejected", "for example", box=None, padding=(0, 3, 0, 2), header_style="bold")
    for rule, count, example in rejections_by_rule(storage.scan(REJECTED), recipe.curation).iter_rows():
        table.add_row(rule, f"{count:,}", Text(shortened(example)))
    if table.row_count:
        console.print(table)


def _score_table(facts: Facts) -> Table:
    table = Table("mean", "generated", "selected", box=None, padding=(0, 3, 0, 2), header_style="bold")
    for comparison in facts.comparisons:
        table.add_row(comparison.label, _number(comparison.everything.mean), _number(comparison.selected.mean))
    return table


def _locations(recipe: Recipe) -> dict[str, str]:
    """Where the recipe's exports and the report stand, by what people call them."""
    exports = {export.label: export.folder for export in all_exports() if export.wanted(recipe)}
    return {**exports, "report": PAGE}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _count(storage: Storage, table: str) -> int:
    return int(storage.scan(table).select(pl.len()).collect().item())


def _shorten(shards: list[str], most: int = 6) -> str:
    return ", ".join(shards[:most]) + (" …" if len(shards) > most else "")
