"""Does the licence of a generator restrict training other models on its images?

A dataset made here is there to train other models, so a generator whose licence restricts that is refused until the
recipe says that its licence is known. What stands here is a reading of the licences by engineers, from copies that were
publicly stored in 2026; it is no legal advice, and licences change: read the one that comes with your weights.

Licences that restrict no training on outputs, as far as they were read: CreativeML Open RAIL++-M of 26 July 2023
(SDXL base and refiner; PixArt-Σ and SDXL-Lightning by their model cards), Apache-2.0 (FLUX.1 [schnell]). Open RAIL++-M
has restrictions of use in its attachment A all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Generation


@dataclass(frozen=True)
class RestrictiveLicence:
    """A licence that restricts training on what a model generates.

    Attributes:
        name: as a recipe accepts it.
        restriction: what it says about outputs, as the end of a sentence that begins with its name.
        url: where to read it.
        models: hub ids that are published under it, as lower-case patterns.
        stated: pattern of the texts by which a recipe or a model card states it.
        weights: pattern of folder names and hub ids of what is likely derived from these models.
        families: the recipe's generator families whose published models are under it.
        pipelines: diffusers pipeline classes whose published models are under it.
    """

    name: str
    restriction: str
    url: str
    models: tuple[str, ...]
    stated: str
    weights: str
    families: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()


RESTRICTIVE_LICENCES = (
    # Text of 5 July 2024, section IV(b). SDXL-Turbo and SD-Turbo carry it since then, though the metadata of their
    # model cards still say sai-nc-community.
    RestrictiveLicence(
        name="Stability AI Community License",
        restriction="forbids to use outputs to create or improve any foundational generative AI model other than "
        "Stability AI's own, and ends for those with more than 1,000,000 US dollars of annual revenue",
        url="https://stability.ai/community-license-agreement",
        models=("stabilityai/stable-diffusion-3*", "stabilityai/sdxl-turbo", "stabilityai/sd-turbo"),
        stated=r"stability\W?ai\b.*\bcommunity|\bsai-nc-community",
        weights=r"sdxl-turbo|sd-turbo|stable-diffusion-3|\bsd-?3",
        families=("sd3", "sdxl-turbo"),
        pipelines=("StableDiffusion3Pipeline",),
    ),
    # v1.1.1 of June 2025, sections 1 (non-commercial purpose) and 2(d) (outputs).
    RestrictiveLicence(
        name="FLUX.1 [dev] Non-Commercial License",
        restriction="forbids to use outputs to train, fine-tune or distill a model that is competitive with FLUX.1 "
        "[dev], and does not count training other models for commercial use as a non-commercial purpose of the model",
        url="https://github.com/black-forest-labs/flux/blob/main/model_licenses/LICENSE-FLUX1-dev",
        models=("black-forest-labs/flux.1*-dev",),
        stated=r"flux\W?1.*non-?commercial",
        weights=r"flux(\.1)?[^/]*-dev",
        families=("flux",),
        pipelines=("FluxPipeline",),
    ),
    # v2.1, section 2(d). Not read itself: what is known of it are quotations, among others in
    # https://huggingface.co/black-forest-labs/FLUX.2-klein-9B/discussions/24.
    RestrictiveLicence(
        name="FLUX Non-Commercial License",
        restriction="forbids to train a competing model on outputs, and allows the model itself for non-commercial "
        "purposes only",
        url="https://huggingface.co/black-forest-labs/FLUX.2-dev/blob/main/LICENSE.md",
        models=("black-forest-labs/flux.2-dev*", "black-forest-labs/flux.2-klein*9b*"),
        stated=r"flux(?!\W?1).*non-?commercial",
        weights=r"flux\.?2[^/]*-dev",
        pipelines=("Flux2Pipeline",),
    ),
    # Text of 14 May 2024 for HunyuanDiT, section 5(b); later models of the name say `any other AI model`.
    RestrictiveLicence(
        name="Tencent Hunyuan Community License",
        restriction="forbids to use outputs to improve any other large language model (in later texts: AI model)",
        url="https://github.com/Tencent/HunyuanDiT/blob/main/LICENSE.txt",
        models=("tencent-hunyuan/*", "tencent/hunyuan*"),
        stated=r"hunyuan.*community",
        weights=r"hunyuan",
        pipelines=("HunyuanDiTPipeline", "HunyuanDiTPAGPipeline", "HunyuanImagePipeline"),
    ),
    # Not read itself: by quotations of others.
    RestrictiveLicence(
        name="Playground v2.5 Community License",
        restriction="forbids to use outputs to improve any other text-to-image model",
        url="https://huggingface.co/playgroundai/playground-v2.5-1024px-aesthetic/blob/main/LICENSE.md",
        models=("playgroundai/playground-v2.5*",),
        stated=r"playground.*community",
        weights=r"playground-v2\.5",
    ),
)

_UNRESTRICTED = r"flux\.?1-schnell|sdxl-lightning|stable-diffusion-xl-base"
"""Names of weights that some family above may load, and that are published under none of these licences."""


def check_licence(generation: Generation) -> None:
    """Refuse generators whose licences restrict training on their images, unless the recipe accepts them by name.

    Raises:
        RecipeError: says which model, what its licence restricts, where it can be read and what to write.
    """
    found = restrictive_licences(generation)
    accepted = _plain(generation.accept_licence)
    missing = [(model, licence) for model, licence in found.items() if _plain(licence.name) not in accepted]
    if not missing:
        return
    model, licence = missing[0]
    names = " and ".join(dict.fromkeys(licence.name for licence in found.values()))
    certain = _published(model) or generation.licence
    doubt = "" if certain else " If these weights are under another licence, state it as generation.licence."
    raise RecipeError(
        f"generation.accept_licence: the model {model} is {'' if certain else 'likely '}under the {licence.name}, "
        f"which {licence.restriction} ({licence.url}). This dataset is made to train other models: read the licence "
        f"(this is no legal advice), and if your use is within it, write accept_licence: {names}.{doubt}"
    )


def restrictive_licences(generation: Generation) -> dict[str, RestrictiveLicence]:
    """The licences among a generator's parts (model, refiner, autoencoder, LoRA) that restrict training on its images.

    What a publisher says of its own hub ids counts before what the recipe states as the model's licence; a stated
    licence counts before what names, pipeline class and generator family let guess.
    """
    optional = (generation.refiner, generation.vae, *generation.loras)
    licences = {generation.model: _published(generation.model) or _stated_or_likely(generation)}
    licences |= {part.model: _published(part.model) for part in optional if part}
    return {model: licence for model, licence in licences.items() if licence}


def licence_statement(generation: Generation) -> str:
    """What is published about the licence of a dataset's generator."""
    restrictive = dict.fromkeys(licence.name for licence in restrictive_licences(generation).values())
    stated = generation.licence or " and ".join(restrictive) or "not stated in the recipe"
    return f"{stated} (restricts training on these images)" if restrictive else stated


def _published(model: str) -> RestrictiveLicence | None:
    return _first(lambda licence: any(fnmatchcase(model.lower(), pattern) for pattern in licence.models))


def _stated_or_likely(generation: Generation) -> RestrictiveLicence | None:
    if stated := generation.licence:
        return _first(lambda licence: re.search(licence.stated, stated.lower()))
    pipeline, origin = _folder_facts(generation.model)
    # The folders that a model lies in say nothing of it, but their names do once they are the hub's own.
    names = f"{'/'.join(generation.model.rstrip('/').split('/')[-2:])} {origin}".lower()
    if likely := _first(lambda licence: re.search(licence.weights, names)):
        return likely
    if re.search(_UNRESTRICTED, names):
        return None
    return _first(lambda licence: pipeline in licence.pipelines or generation.generator in licence.families)


def _folder_facts(model: str) -> tuple[str, str]:
    """Pipeline class, and name of the weights it was saved from, as far as a local folder says."""
    try:
        index = json.loads((Path(model) / "model_index.json").read_text(encoding="utf-8"))
        return str(index["_class_name"]), str(index.get("_name_or_path", ""))
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return "", ""


def _first(applies: Callable[[RestrictiveLicence], object]) -> RestrictiveLicence | None:
    return next((licence for licence in RESTRICTIVE_LICENCES if applies(licence)), None)


def _plain(name: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (name or "").lower().replace("licence", "license"))
