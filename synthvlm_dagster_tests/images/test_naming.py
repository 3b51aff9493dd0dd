import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.images.naming import generator_name, generator_version
from synthvlm_dagster.recipe import Recipe


def test_a_name_starts_with_the_models(tiny_recipe: Callable[..., Recipe]) -> None:
    assert generator_name(tiny_recipe()).startswith("tiny-sdxl-")
    hub = {"model": "stabilityai/stable-diffusion-xl-base-1.0", "revision": "462165984030d82259a11f4367a4eed129e94a7b"}
    assert generator_name(tiny_recipe(hub)).startswith("stable-diffusion-xl-base-1-0-")


@pytest.mark.parametrize(
    "changed",
    [
        {"num_inference_steps": 3},
        {"guidance_scale": 4.0},
        {"guidance_rescale": 0.5},
        {"negative_prompt": "blurry"},
        {"width": 40},
        {"height": 40},
        {"dtype": "bfloat16"},
        {"image_format": "png"},
        {"image_quality": 90},
        {"scheduler": {"name": "DDIMScheduler"}},
        {"scheduler": {"name": "DDIMScheduler", "config": {"timestep_spacing": "trailing"}}},
        {"refiner": {"model": "org/refiner"}},
        {"refiner": {"model": "org/refiner", "revision": "v2"}},
        {"refiner": {"model": "org/refiner", "handover": 0.7}},
        {"model": "org/other"},
    ],
)
def test_what_changes_pixels_changes_the_name(tiny_recipe: Callable[..., Recipe], changed: dict) -> None:
    assert generator_name(tiny_recipe(changed)) != generator_name(tiny_recipe())


def test_every_refiner_setting_counts(tiny_recipe: Callable[..., Recipe]) -> None:
    variants = [{}, {"revision": "v2"}, {"handover": 0.7}, {"variant": "fp16"}]
    names = {generator_name(tiny_recipe({"refiner": {"model": "org/refiner", **changed}})) for changed in variants}
    assert len(names) == len(variants)


def test_the_recipes_seed_changes_the_name(tiny_recipe: Callable[..., Recipe]) -> None:
    assert generator_name(tiny_recipe(seed=8)) != generator_name(tiny_recipe(seed=7))


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 7},
        {"images_per_chunk": 9},
        {"device": "auto"},
        {"licence": "Apache-2.0"},
        {"revision": "of a folder"},
    ],
)
def test_what_changes_no_pixel_keeps_name_and_code_version(tiny_recipe: Callable[..., Recipe], changed: dict) -> None:
    assert generator_name(tiny_recipe(changed)) == generator_name(tiny_recipe())
    assert generator_version(tiny_recipe(changed)) == generator_version(tiny_recipe())


def test_a_certificate_counts_by_what_it_holds(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    versions = set()
    for name in ("one", "other"):
        (tmp_path / f"{name}.pem").write_bytes(b"a certificate")
        signed = {"certificate": str(tmp_path / f"{name}.pem"), "private_key": str(tmp_path / f"{name}.pem")}
        recipe = tiny_recipe({"content_credentials": signed})
        versions.add((generator_name(recipe), generator_version(recipe)))
    assert len(versions) == 1
    assert generator_version(tiny_recipe()) != versions.pop()[1]


def test_on_a_hub_no_revision_is_main(tiny_recipe: Callable[..., Recipe]) -> None:
    hub = [tiny_recipe({"model": "org/model", "revision": revision}) for revision in (None, "main", "v2")]
    for version_of in (generator_name, generator_version):
        unnamed, main, second = map(version_of, hub)
        assert unnamed == main != second


def test_png_has_no_quality(tiny_recipe: Callable[..., Recipe]) -> None:
    names = {generator_name(tiny_recipe({"image_format": "png", "image_quality": quality})) for quality in (50, 90)}
    assert len(names) == 1


def test_a_moved_folder_keeps_its_name_and_new_weights_change_it(
    tiny_recipe: Callable[..., Recipe], tiny_sdxl_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_sdxl_folder, tmp_path / "elsewhere" / tiny_sdxl_folder.name)
    recipe = tiny_recipe({"model": str(copy)})
    assert generator_name(recipe) == generator_name(tiny_recipe())
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert generator_name(recipe) != generator_name(tiny_recipe())


def test_a_missing_folder_has_no_name(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        generator_name(tiny_recipe({"model": str(tmp_path / "nothing")}))
