"""The dataset card: what the dataset is, how it was made, what it may be used for, and its limits.

It follows the sections of Hugging Face's dataset cards (https://huggingface.co/docs/hub/datasets-cards) without their
YAML header, which the Hugging Face export adds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from synthvlm_dagster.dataset.made_with import recipe_as_made
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.report.facts import Facts, gather_facts
from synthvlm_dagster.dataset.settings import source_name
from synthvlm_dagster.dataset.strategies import describe_merit
from synthvlm_dagster.images.licences import RestrictiveLicence, licence_statement, restrictive_licences
from synthvlm_dagster.images.provenance import model_label
from synthvlm_dagster.markdown import as_markdown_text
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

CARD_FOLDER = "dataset/card"
CARD = f"{CARD_FOLDER}/card.md"

CITATION = """\
@article{liu2024synthvlm,
  title   = {SynthVLM: High-Efficiency and High-Quality Synthetic Data for Vision Language Models},
  author  = {Liu, Zheng and Liang, Hao and Li, Bozhou and Bai, Tianyi and Xiong, Wentao and Chen, Chong and
             He, Conghui and Zhang, Wentao and Cui, Bin},
  journal = {arXiv preprint arXiv:2407.20756},
  year    = {2024}
}"""

LIMITATIONS = (
    "No person has looked at every pair: a caption can name things, counts or writing that its image does not show.",
    "The pairs were chosen by the scores that are shown: high means say that the selection worked, no more.",
    "The captions are taken from their sources as they are, and are not checked for truth.",
    "The images are a model's idea of their captions and no evidence of any real person, place or event.",
)

BIASES = (
    "The images inherit what the diffusion model has learned about people, places and styles.",
    "CLIPScore favours what the CLIP model knows well: concepts that are frequent on the English-speaking web.",
    "SSIM after a round trip through a small size favours images with few fine details.",
)

MARKING = (
    "Every image was made by a trained model from text. Each file says so in its XMP metadata, as the IPTC digital "
    "source type trainedAlgorithmicMedia, with the model, a fingerprint of its settings, a digest of the caption and "
    "the seed: a machine-readable mark as Article 50(2) of the EU AI Act (Regulation (EU) 2024/1689) asks for. "
    "Programs that save an image again can lose it; whoever passes the images on should keep it."
)

# Nothing of this can begin markup or a link, so that it need not be escaped for those who read the card as it is.
_PLAIN = re.compile(r"(?!.*www)[^\W\d_](?:[^\W_]|[ ,;'%()+·-]|\.(?=[\d ]|$))*", re.IGNORECASE)


@dataclass(frozen=True)
class Card:
    """The card and the facts in it.

    Attributes:
        text: Markdown.
        pairs: number of selected pairs.
        facts: the numbers of every step.
    """

    text: str
    pairs: int
    facts: Facts


def write_card(recipe: Recipe, storage: Storage) -> Card:
    """Write the card of the selected pairs.

    Raises:
        StorageError: a table of the pipeline is missing, or the card cannot be written.
    """
    facts = gather_facts(recipe, storage)
    pairs = storage.scan(SELECTED).collect().height
    text = render_card(recipe_as_made(recipe, storage), facts, pairs)
    storage.write_bytes(CARD, text.encode())
    return Card(text, pairs, facts)


def render_card(recipe: Recipe, facts: Facts, pairs: int) -> str:
    """The card as Markdown. What comes from the recipe is text: no markup and no YAML begins in it."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        finalize=_as_text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": _code}
    return environment.get_template("card.md.jinja").render(
        recipe=recipe,
        pairs=Markup(f"{pairs:,}"),
        steps=[(step.name, Markup(f"{step.count:,}"), step.note) for step in (*facts.captions, *facts.images)],
        unscored=Markup(facts.unscored or ""),
        scores=[
            (measure.label, _number(measure.everything.mean), _number(measure.selected.mean))
            for measure in facts.comparisons
        ],
        generator=generator_facts(recipe),
        selection=Markup(selection_statement(recipe)),
        set_for_one_run=facts.set_for_one_run,
        clip_model=model_label(recipe.scoring.clip.model),
        sources=[source_name(source) for source in recipe.sources],
        licence=recipe.exports.licence,
        generator_licence=licence_statement(recipe.generation),
        restrictions=restrictions(recipe),
        marking=Markup(MARKING),
        limitations=[Markup(text) for text in LIMITATIONS],
        biases=[Markup(text) for text in BIASES],
        citation=Markup(CITATION),
    )


def generator_facts(recipe: Recipe) -> dict[str, str]:
    """What made the images, as people call it; settings that the recipe leaves out are left out."""
    generation, refiner = recipe.generation, recipe.generation.refiner
    facts: dict[str, str | None] = {
        "model": model_label(generation.model),
        "revision": generation.hub_revision or ("" if generation.model.startswith("/") else "not pinned"),
        "refiner": model_label(refiner.model) if refiner else None,
        "LoRA": ", ".join(model_label(lora.model) for lora in generation.loras),
        "scheduler": generation.scheduler.name if generation.scheduler else None,
        "steps": str(generation.num_inference_steps),
        "guidance scale": f"{generation.guidance_scale:g}",
        "negative prompt": generation.negative_prompt,
        "size": f"{generation.width} × {generation.height} pixels",
        "file format": generation.image_format,
        "seed of the recipe": str(recipe.seed),
    }
    return {name: value for name, value in facts.items() if value}


def selection_statement(recipe: Recipe) -> str:
    """How the pairs were chosen, in one sentence."""
    selection = recipe.selection
    size = (
        f"{selection.count:,} pairs"
        if selection.count
        else f"{100 * (selection.share or 0):g} % of the captions that have a scored image"
    )
    return (
        f"The best image of each caption competes, and the best {size} are kept, by the strategy {selection.strategy} "
        f"({describe_merit(selection)})."
    )


def restrictions(recipe: Recipe) -> dict[str, RestrictiveLicence]:
    """Name of each part of the generator whose licence restricts training on its images, and that licence."""
    return {model_label(model): licence for model, licence in restrictive_licences(recipe.generation).items()}


def _as_text(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return text if _PLAIN.fullmatch(text) else as_markdown_text(text)


def _code(text: str) -> Markup:
    """The text as code in a table, where no markup begins."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text).replace("`", "'").replace("|", "\\|")
    return Markup("`{}`").replace("{}", shown.strip() or " ")


def _number(value: float | None) -> Markup:
    return Markup("–" if value is None else f"{value:.4f}")
