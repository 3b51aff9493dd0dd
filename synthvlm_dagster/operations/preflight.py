"""Look at everything a recipe names before anything is spent on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import polars as pl

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.captions.flagged_words import read_flagged_words
from synthvlm_dagster.captions.readers import file_format, read_captions
from synthvlm_dagster.captions.rules import RULES
from synthvlm_dagster.errors import RecipeError, StorageError, SynthVLMError
from synthvlm_dagster.images.content_credentials import check_content_credentials
from synthvlm_dagster.images.licences import check_licence, licence_statement
from synthvlm_dagster.images.model_folder import check_model as check_generator
from synthvlm_dagster.images.plan import PLAN_TABLE
from synthvlm_dagster.models.availability import models_available
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.recipe import JUDGE_SETTINGS, CaptionSource, Recipe
from synthvlm_dagster.scores.clip import check_model as check_clip
from synthvlm_dagster.scores.judges import check_judges
from synthvlm_dagster.scores.naming import reduced_size
from synthvlm_dagster.store.object_stores import is_remote
from synthvlm_dagster.store.storage import Storage

SAMPLE_ROWS = 100
"""Captions read of each source: enough to see a wrong format or column."""
_CARRIED = ("image_uri", "clip_similarity", "watermark_score", "nsfw_score")
_LONGEST_EXAMPLE = 60

_RULES = "curation.rules"
_ON_EVERY_MACHINE = ("auto", "cpu")

State = Literal["ok", "unknown", "error"]


@dataclass(frozen=True)
class Finding:
    """What was seen of one thing that the recipe names.

    Attributes:
        subject: the recipe's field.
        state: `unknown` is what cannot be told without the network.
        message: for a person; for an error, what to do.
    """

    subject: str
    state: State
    message: str


def check_recipe(recipe: Recipe) -> list[Finding]:
    """Try the store, every caption source and every model of a recipe; without network, and without loading weights."""
    findings = [_finding("storage", partial(_check_storage, recipe.storage))]
    findings += [_finding(f"sources.{source.name}", partial(_check_source, source)) for source in recipe.sources]
    findings += [
        _finding(f"comparisons.{dataset.name}", partial(_check_source, dataset)) for dataset in recipe.comparisons
    ]
    if recipe.curation.flagged_words:
        findings.append(
            _finding("curation.flagged_words", partial(_check_flagged_words, recipe.curation.flagged_words))
        )
    findings += _findings_of_rules(recipe)
    devices = _named_devices(recipe.model_dump())
    findings += [_finding(field, partial(_check_device, name, field)) for field, name in devices]
    findings.append(_finding("generation.model", partial(_check_generation, recipe)))
    findings.append(_finding("generation.licence", partial(_check_licence, recipe)))
    if recipe.generation.content_credentials:
        findings.append(_finding("generation.content_credentials", partial(_check_content_credentials, recipe)))
    findings.append(_finding("scoring.clip.model", partial(_check_clip_model, recipe)))
    findings.append(_finding("scoring.ssim", partial(_check_ssim, recipe)))
    if recipe.scoring.judges.configured:
        findings.append(_finding("scoring.judges", partial(_check_judges, recipe)))
    return findings


def _findings_of_rules(recipe: Recipe) -> list[Finding]:
    findings = []
    for name in recipe.curation.rules.on:
        try:
            seen = RULES[name].preflight(recipe.curation)
        except SynthVLMError as error:
            findings.append(Finding(f"{_RULES}.{name}", "error", str(error)))
        else:
            findings += [Finding(f"{_RULES}.{name}", *seen)] if seen else []
    return findings


def _finding(subject: str, look: Callable[[], tuple[State, str]]) -> Finding:
    try:
        return Finding(subject, *look())
    except SynthVLMError as error:
        return Finding(subject, "error", str(error))


def _check_storage(url: str) -> tuple[State, str]:
    location = Storage(url).url()
    if is_remote(url):
        return "unknown", f"{location} (not contacted)"
    folder = next(folder for folder in (Path(location), *Path(location).parents) if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StorageError(f"{location}: {folder} is no folder that can be written to. Correct storage in the recipe")
    # Refuses one that another version of this program has laid out.
    Storage(url).files(PLAN_TABLE)
    return "ok", location


def _check_source(source: CaptionSource) -> tuple[State, str]:
    if is_remote(source.path):
        return "unknown", f"{source.path} (remote; read when raw_captions is materialized)"
    # How much of a source is bad cannot be judged by its first rows.
    head = {"limit": min(source.limit or SAMPLE_ROWS, SAMPLE_ROWS), "max_bad_share": 1.0}
    sample = pl.concat(read_captions([source.model_copy(update=head)]))
    files = find_files(source)
    many = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
    carried = [column for column in _CARRIED if sample[column].count()]
    example = sample["text"].drop_nulls()[0]
    shown = f"{example[:_LONGEST_EXAMPLE]}…" if len(example) > _LONGEST_EXAMPLE else example
    return "ok", (
        f"{files[0].url}{many}, format {file_format(files[0], source)}, with {', '.join(['text', *carried])} "
        f"({sample['problem'].count()} of the first {sample.height} rows unusable; the first caption: {shown!r})"
    )


def _check_flagged_words(location: str) -> tuple[State, str]:
    return "ok", f"{location} ({len(read_flagged_words(location)):,} words)"


def _named_devices(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """The devices that a recipe names, with their fields; what every machine has needs no look."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _named_devices(value, f"{within}{name}.")
        elif name == "device" and value not in _ON_EVERY_MACHINE:
            yield f"{within}{name}", value


def _check_device(name: str, field: str) -> tuple[State, str]:
    return "ok", f"{usable_device(name, field)}"


def _check_generation(recipe: Recipe) -> tuple[State, str]:
    from synthvlm_dagster.images.generators.families import check_family
    from synthvlm_dagster.images.generators.lora import require_peft
    from synthvlm_dagster.images.generators.quantization import quantization_config

    check_generator(recipe.generation)
    check_family(recipe.generation)
    if recipe.generation.loras:
        require_peft()
    if recipe.generation.quantization:
        quantization_config(recipe.generation.quantization)
    refiner = recipe.generation.refiner
    return models_available([recipe.generation.model, *([refiner.model] if refiner else [])])


def _check_licence(recipe: Recipe) -> tuple[State, str]:
    check_licence(recipe.generation)
    stated = recipe.generation.licence or recipe.generation.accept_licence
    return "ok" if stated else "unknown", licence_statement(recipe.generation)


def _check_content_credentials(recipe: Recipe) -> tuple[State, str]:
    check_content_credentials(recipe.generation)
    return "ok", "an image was signed"


def _check_clip_model(recipe: Recipe) -> tuple[State, str]:
    check_clip(recipe.scoring.clip)
    return models_available([recipe.scoring.clip.model])


def _check_ssim(recipe: Recipe) -> tuple[State, str]:
    side, reduced = min(recipe.generation.width, recipe.generation.height), reduced_size(recipe)
    if reduced > side:
        raise RecipeError(
            f"scoring.ssim.reduced_size: {reduced} is larger than the images, whose shorter side is {side} pixels. "
            f"The paper's 336 of 1024 would be {round(side * 336 / 1024)} here"
        )
    return "ok", f"round trip through {reduced} of {side} pixels"


def _check_judges(recipe: Recipe) -> tuple[State, str]:
    check_judges(recipe.scoring)
    judges = recipe.scoring.judges.on
    state, names = models_available([model for name in judges for model in JUDGE_SETTINGS[name].models(judges[name])])
    return state, f"{', '.join(judges)}: {names}"
