"""The quality report: one HTML page that holds everything it shows."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import polars as pl
from markupsafe import Markup

from synthvlm_dagster.dataset.audit import REASONS
from synthvlm_dagster.dataset.made_with import recipe_as_made
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.dataset.report.browse import Browser, gather_browser
from synthvlm_dagster.dataset.report.charts import clouds, histogram, line, scatter
from synthvlm_dagster.dataset.report.concepts import Coverage, gather_coverage
from synthvlm_dagster.dataset.report.cost import GENERATION, SCORING, Cost, cost_per_pair
from synthvlm_dagster.dataset.report.embedding_map import SELECTED as CHOSEN
from synthvlm_dagster.dataset.report.embedding_map import EmbeddingMap, gather_embedding_map
from synthvlm_dagster.dataset.report.facts import JUDGES, MEASURES, Facts, gather_facts, scored_pairs
from synthvlm_dagster.dataset.report.gallery import Gallery, gather_galleries
from synthvlm_dagster.dataset.report.sweep import gather_sweep
from synthvlm_dagster.dataset.strategies import describe_merit
from synthvlm_dagster.images.contact_sheet import contact_sheet
from synthvlm_dagster.images.licences import licence_statement
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.orchestration.work import Work
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import scorer_name
from synthvlm_dagster.scores.references import read_summary
from synthvlm_dagster.store.storage import Storage

FOLDER = "dataset/report"
PAGE = f"{FOLDER}/index.html"

_PREVIEW_PAIRS = 12


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        location: path or URL of the page.
        bytes: size of the page.
        facts: the numbers on it.
    """

    location: str
    bytes: int
    facts: Facts


@dataclass(frozen=True)
class Contents:
    """Everything on the page, in the order in which it is shown.

    Attributes:
        facts: the numbers.
        references: as `read_summary` gives it.
        sweep: as `lambda_sweep` gives it; None when nothing is scored, or λ plays no part in the selection.
        embedding_map: None when there are too few images, or their embeddings are not kept.
        coverage: None when no caption is selected.
        cost: None when no time is known.
        galleries: the best and the worst.
        browser: the pairs to search.
    """

    facts: Facts
    references: pl.DataFrame
    sweep: pl.DataFrame | None
    embedding_map: EmbeddingMap | None
    coverage: Coverage | None
    cost: Cost | None
    galleries: tuple[Gallery, ...]
    browser: Browser


def write_report(recipe: Recipe, storage: Storage, work: Mapping[str, Work] | None = None) -> Report:
    """Write the page for what the recipe's tables hold.

    Args:
        recipe: what was built.
        storage: the store of its tables, and of the page.
        work: what the shards took, by `GENERATION` and `SCORING`; without it the page has no costs.

    Raises:
        StorageError: a table or an image is missing, or the page cannot be written.
        DamagedImagesError: an image that is to be shown cannot be decoded; says which.
    """
    facts = gather_facts(recipe, storage)
    recipe = recipe_as_made(recipe, storage)
    scored = scored_pairs(recipe, storage)
    made, measured, pairs = (step.count for step in facts.images[1:])
    contents = Contents(
        facts=facts,
        references=read_summary(recipe, storage),
        sweep=gather_sweep(recipe, scored),
        embedding_map=gather_embedding_map(recipe, storage, scored),
        coverage=gather_coverage(storage),
        cost=cost_per_pair(
            work or {}, {GENERATION: made, SCORING: measured}, pairs, recipe.generation.price_per_gpu_hour
        ),
        galleries=gather_galleries(recipe, storage, scored),
        browser=gather_browser(recipe, storage, scored),
    )
    page = render_page(recipe, contents).encode()
    storage.write_bytes(PAGE, page)
    return Report(location=storage.url(PAGE), bytes=len(page), facts=facts)


def render_page(recipe: Recipe, contents: Contents) -> str:
    """The page as HTML. Everything that comes from captions or the recipe is escaped.

    Beside that its content security policy lets no script run but the page's own, known by its hash, and nothing be
    fetched from anywhere.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "count": "{:,}".format,
        "gain": lambda value: f"{value:+.3f}",
        "figures": _two_figures,
    }
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    facts = contents.facts
    return environment.get_template("page.html.jinja").render(
        recipe=recipe,
        facts=facts,
        contents=contents,
        galleries=contents.galleries,
        reasons=REASONS,
        generator=_generator(recipe),
        scorer=_scorer(recipe),
        selection=_selection(recipe, facts),
        histograms=[histogram(distribution) for distribution in facts.distributions],
        scatter=_scatter(recipe, facts),
        sweep=_sweep(recipe, contents.sweep),
        embedding_map=_map(contents.embedding_map),
        datasets=contents.references.to_dicts(),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def preview(recipe: Recipe, storage: Storage, facts: Facts) -> str:
    """The key numbers and the best pairs as Markdown, small enough for Dagster's event log."""
    rows = [
        f"| {line.label} | "
        + " | ".join(_score(group.mean) for group in (line.everything, line.selected, line.left_out))
        for line in facts.comparisons
    ]
    steps = " → ".join(f"{step.count:,} {step.name.lower()}" for step in (*facts.captions, *facts.images))
    table = ["| mean | all scored | selected | left out |", "|---|---|---|---|", *rows]
    best = storage.scan(SELECTED).bottom_k(_PREVIEW_PAIRS, by="rank").select("rank", "image_id", "shard", "text")
    pictures = sorted(
        (rank, image["bytes"], text)
        for batch in with_images(recipe, storage, best.collect())
        for rank, image, text in batch.select("rank", "image", "text").iter_rows()
    )
    sheet = contact_sheet([(content, text) for _, content, text in pictures])
    return "\n\n".join([steps, "\n".join(table), sheet])


def _generator(recipe: Recipe) -> dict[str, str]:
    generation, refiner = recipe.generation, recipe.generation.refiner
    facts: dict[str, str | None] = {
        "Name": generator_name(recipe),
        "Model": _short(generation.model),
        "Revision": generation.hub_revision,
        "Refiner": f"{_short(refiner.model)}, after {refiner.handover:.0%} of the steps" if refiner else None,
        "Scheduler": generation.scheduler.name if generation.scheduler else "the model's own",
        "Steps": str(generation.num_inference_steps),
        "Guidance": f"{generation.guidance_scale:g}",
        "Negative prompt": generation.negative_prompt,
        "Size": f"{generation.width} × {generation.height} pixels, {generation.image_format}",
        "Precision": generation.dtype,
        "Seed": str(recipe.seed),
        "Licence": licence_statement(generation),
    }
    return {name: value for name, value in facts.items() if value}


def _scorer(recipe: Recipe) -> dict[str, str]:
    clip, ssim = recipe.scoring.clip, recipe.scoring.ssim
    channels = {"gray": "grayscale", "rgb": "RGB"}[ssim.channels]
    return {
        "Name": scorer_name(recipe),
        "CLIP model": _short(clip.model) + (f", weights {_short(clip.pretrained)}" if clip.pretrained else ""),
        "Prompt": f"“{clip.prompt_prefix}” + caption",
        "SSIM": f"{channels}, through {ssim.reduced_size} × {ssim.reduced_size} pixels",
    }


def _selection(recipe: Recipe, facts: Facts) -> dict[str, str]:
    selection = recipe.selection
    size = (
        f"{selection.count:,} pairs" if selection.count else f"{100 * (selection.share or 0):g}% of the scored captions"
    )
    return {
        "Strategy": selection.strategy,
        "Compared by": describe_merit(selection),
        "Kept": f"the best image of each caption, then the best {size}",
        **({"Set for one run": ", ".join(facts.set_for_one_run)} if facts.set_for_one_run else {}),
    }


def _short(model: str) -> str:
    return PurePath(model).name if PurePath(model).is_absolute() else model


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _scatter(recipe: Recipe, facts: Facts) -> Markup | None:
    if not facts.points:
        return None
    cutoff = None
    if recipe.selection.strategy == "paper" and facts.lowest_selected is not None:
        cutoff = (recipe.selection.ssim_weight, facts.lowest_selected)
    return scatter(facts.points, "CLIPScore", "SSIM", cutoff)


def _sweep(recipe: Recipe, sweep: pl.DataFrame | None) -> list[Markup]:
    """One chart per measure over λ; measures of which nothing is known are left out."""
    if sweep is None:
        return []
    labels = {**MEASURES, **JUDGES, "overlap": "Overlap with the selection"}
    weights = sweep["ssim_weight"].to_list()
    return [
        line(weights, sweep[name].to_list(), "λ", labels.get(name, name), recipe.selection.ssim_weight)
        for name in sweep.columns
        if name != "ssim_weight" and sweep[name].count()
    ]


def _map(embeddings: EmbeddingMap | None) -> Markup | None:
    if embeddings is None:
        return None
    groups = list(embeddings.sizes)
    dots = [
        (point.x, point.y, f"group-{groups.index(point.group)}", f"{point.group}: {point.caption}")
        # The selected lie on top: they are what one looks for.
        for point in sorted(embeddings.points, key=lambda point: point.group == CHOSEN)
    ]
    first, second = (f"{share:.0%}" for share in embeddings.explained)
    return clouds(dots, f"first component ({first} of the variance)", f"second component ({second})")


def _two_figures(value: float) -> str:
    """A positive number with two significant figures at least, without exponent: 0.0042, 1.3, 250."""
    return f"{value:,.0f}" if value >= 10 else f"{float(f'{value:.2g}'):.10f}".rstrip("0").rstrip(".")


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
