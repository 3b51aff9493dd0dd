import json

import pytest

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.licences import (
    RESTRICTIVE_LICENCES,
    check_licence,
    licence_statement,
    restrictive_licences,
)
from synthvlm_dagster.recipe import Generation
from synthvlm_dagster.recipe.loading import RECIPES_FOLDER, parse_recipe

_STABILITY = "Stability AI Community License"
_FLUX = "FLUX.1 [dev] Non-Commercial License"


def _names(**generation) -> set[str]:
    return {licence.name for licence in restrictive_licences(Generation(**generation)).values()}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("stabilityai/sdxl-turbo", _STABILITY),
        ("stabilityai/sd-turbo", _STABILITY),
        ("stabilityai/stable-diffusion-3-medium-diffusers", _STABILITY),
        ("stabilityai/stable-diffusion-3.5-large-turbo", _STABILITY),
        ("someone/my-sd3.5-finetune", _STABILITY),
        ("black-forest-labs/FLUX.1-dev", _FLUX),
        ("black-forest-labs/FLUX.1-Krea-dev", _FLUX),
        ("someone/flux1-dev-nf4", _FLUX),
        ("black-forest-labs/FLUX.2-dev", "FLUX Non-Commercial License"),
        ("Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers", "Tencent Hunyuan Community License"),
        ("playgroundai/playground-v2.5-1024px-aesthetic", "Playground v2.5 Community License"),
    ],
)
def test_restrictive_models_are_known_by_their_hub_ids(model, name):
    assert _names(model=model) == {name}


@pytest.mark.parametrize(
    ("model", "generator"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl-turbo"),
        ("black-forest-labs/FLUX.1-schnell", "flux"),
        ("ByteDance/SDXL-Lightning", "sdxl-turbo"),
        ("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", "pixart-sigma"),
        ("someone/anything", "auto"),
    ],
)
def test_other_models_are_free(model, generator):
    check_licence(Generation(model=model, generator=generator))


@pytest.mark.parametrize(
    ("stated", "names"),
    [
        ("Stability AI Community License Agreement", {_STABILITY}),
        ("stabilityai-ai-community", {_STABILITY}),
        ("flux-1-dev-non-commercial-license", {_FLUX}),
        ("FLUX Non-Commercial License v2.1", {"FLUX Non-Commercial License"}),
        ("Tencent Hunyuan Community License Agreement", {"Tencent Hunyuan Community License"}),
        ("CreativeML Open RAIL++-M", set()),
        ("Apache-2.0", set()),
    ],
)
def test_a_stated_licence_counts_for_weights_of_unknown_origin(stated, names):
    assert _names(model="someone/anything", licence=stated) == names
    assert _names(model="someone/sd3-like", generator="sd3", licence=stated) == names


def test_a_stated_licence_does_not_free_a_published_model():
    assert _names(model="stabilityai/sdxl-turbo", licence="MIT") == {_STABILITY}


@pytest.mark.parametrize(("generator", "name"), [("sd3", _STABILITY), ("flux", _FLUX), ("sdxl-turbo", _STABILITY)])
def test_in_doubt_the_family_decides(generator, name):
    with pytest.raises(RecipeError, match=r"is likely under the .*state it as generation.licence"):
        check_licence(Generation(model="someone/anything", generator=generator))
    assert _names(model="someone/anything", generator=generator) == {name}


def test_a_folder_tells_its_pipeline_and_where_it_came_from(tmp_path):
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))
    assert _names(model=str(tmp_path)) == {_STABILITY}
    index.write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    assert _names(model=str(tmp_path)) == set()
    index.write_text(
        json.dumps({"_class_name": "StableDiffusionXLPipeline", "_name_or_path": "stabilityai/sdxl-turbo"})
    )
    assert _names(model=str(tmp_path)) == {_STABILITY}
    index.write_text("[]")
    assert _names(model=str(tmp_path)) == set()


def test_the_refusal_says_what_is_restricted_and_what_to_write():
    with pytest.raises(RecipeError) as refused:
        check_licence(Generation(model="stabilityai/stable-diffusion-3.5-large"))
    message = str(refused.value)
    assert "stabilityai/stable-diffusion-3.5-large is under the Stability AI Community License" in message
    assert "any foundational generative AI model" in message
    assert "https://stability.ai/community-license-agreement" in message
    assert "accept_licence: Stability AI Community License" in message


def test_accepting_the_licence_by_name_opens_the_gate():
    for licence in RESTRICTIVE_LICENCES:
        model = licence.models[0].rstrip("*")
        for accepted in (licence.name, licence.name.upper().replace("LICENSE", "LICENCE")):
            check_licence(Generation(model=model, accept_licence=accepted))
        with pytest.raises(RecipeError):
            check_licence(Generation(model=model, accept_licence="yes"))


def test_the_licences_of_all_parts_are_accepted_together():
    parts = {"model": "stabilityai/sdxl-turbo", "loras": [{"model": "black-forest-labs/FLUX.1-Canny-dev"}]}
    with pytest.raises(RecipeError, match=r"FLUX\.1-Canny-dev is under the FLUX") as refused:
        check_licence(Generation(**parts, accept_licence=_STABILITY))
    accept = str(refused.value).rpartition("write accept_licence: ")[2].rstrip(".")
    check_licence(Generation(**parts, accept_licence=accept))


@pytest.mark.parametrize("preset", ["paper", "paper-fast"])
def test_the_presets_of_sdxl_are_free(preset, tmp_path):
    check_licence(_generation(f"preset: {preset}", tmp_path))


def test_the_preset_turbo_asks(tmp_path):
    with pytest.raises(RecipeError, match="stabilityai/sdxl-turbo is under the Stability AI Community License"):
        check_licence(_generation("preset: turbo", tmp_path))
    check_licence(_generation(f"preset: turbo\n  accept_licence: {_STABILITY}", tmp_path))


def _generation(section: str, folder) -> Generation:
    head, _, rest = (RECIPES_FOLDER / "demo.yaml").read_text().partition("generation:\n")
    tail = rest[rest.index("scoring:") :]
    return parse_recipe(f"{head}generation:\n  {section}\n{tail}", folder / "recipe.yaml").generation


def test_what_is_published_says_that_the_licence_restricts():
    assert licence_statement(Generation(model="a/b", licence="Apache-2.0")) == "Apache-2.0"
    assert licence_statement(Generation(model="a/b")) == "not stated in the recipe"
    statement = licence_statement(Generation(model="stabilityai/sdxl-turbo"))
    assert statement == f"{_STABILITY} (restricts training on these images)"
