"""The quality report: one HTML page that holds everything it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from markupsafe import Markup

from synthvlm_dagster.dataset.merit import describe_merit
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.dataset.report.charts import histogram, scatter
from synthvlm_dagster.dataset.report.facts import Facts, gather_facts, scored_pairs
from synthvlm_dagster.dataset.report.gallery import Gallery, gather_galleries
from synthvlm_dagster.images.contact_sheet import contact_sheet
from synthvlm_dagster.images.licences import licence_statement
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import scorer_name
from synthvlm_dagster.storage import Storage

PAGE = "dataset/report/index.html"

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


def write_report(recipe: Recipe, storage: Storage) -> Report:
    """Write the page for what the recipe's tables hold.

    Raises:
        StorageError: a table or an image is missing, or the page cannot be written.
        ImageError: an image that is to be shown cannot be decoded.
    """
    facts = gather_facts(recipe, storage)
    galleries = gather_galleries(recipe, storage, scored_pairs(recipe, storage))
    page = render_page(recipe, facts, galleries).encode()
    storage.write_bytes(PAGE, page)
    return Report(location=storage.url(PAGE), bytes=len(page), facts=facts)


def render_page(recipe: Recipe, facts: Facts, galleries: tuple[Gallery, ...]) -> str:
    """The page as HTML. Everything that comes from captions or the recipe is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "count": "{:,}".format, "gain": lambda value: f"{value:+.3f}"}
    return environment.get_template("page.html.jinja").render(
        recipe=recipe,
        facts=facts,
        galleries=galleries,
        generator=_generator(recipe),
        scorer=_scorer(recipe),
        selection=_selection(recipe),
        histograms=[histogram(distribution) for distribution in facts.distributions],
        scatter=_scatter(recipe, facts),
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
        "Revision": generation.revision,
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


def _selection(recipe: Recipe) -> dict[str, str]:
    selection = recipe.selection
    size = (
        f"{selection.count:,} pairs" if selection.count else f"{100 * (selection.share or 0):g}% of the scored captions"
    )
    return {
        "Strategy": selection.strategy,
        "Compared by": describe_merit(selection),
        "Kept": f"the best image of each caption, then the best {size}",
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
