import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.model_folder import check_model
from synthvlm_dagster.recipe import Generation

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def without_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def with_broken_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def with_index_of_something_else(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1, 2]")


def with_foreign_code(folder: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": ["my_code", "MyPipeline"]}))


def without_component(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def without_weights(folder: Path) -> None:
    (folder / UNET_WEIGHTS).unlink()


def with_pickled_weights(folder: Path) -> None:
    (folder / UNET_WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def with_truncated_weights(folder: Path) -> None:
    content = (folder / UNET_WEIGHTS).read_bytes()
    (folder / UNET_WEIGHTS).write_bytes(content[: len(content) // 2])


def with_a_lost_part(folder: Path) -> None:
    (folder / UNET_WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors")
    parts = {f"weight{n}": f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def with_nothing(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (with_nothing, "no such model folder"),
        (without_index, "has no model_index.json"),
        (with_broken_index, "cannot be read as JSON"),
        (with_index_of_something_else, "cannot be read as JSON"),
        (with_foreign_code, "does not name a diffusers pipeline class"),
        (without_component, "the component vae is missing"),
        (without_weights, "unet: has no weight file"),
        (with_pickled_weights, r"unet: has only pickled weights \(diffusion_pytorch_model.bin\)"),
        (with_truncated_weights, "is no complete safetensors file"),
        (with_a_lost_part, "the weight file diffusion_pytorch_model-00002-of-00002.safetensors is missing"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence_before_and_while_loading(
    tiny_sdxl_folder: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    folder = shutil.copytree(tiny_sdxl_folder, tmp_path / "model")
    damage(folder)
    generation = Generation(model=str(folder))
    for use in (lambda: check_model(generation), DiffusersGenerator(generation).load):
        with pytest.raises(ModelError, match=sentence) as refused:
            use()
        assert str(folder) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_whole_folder_and_a_hub_id_pass(tiny_sdxl_folder: Path) -> None:
    check_model(Generation(model=str(tiny_sdxl_folder), refiner={"model": "stabilityai/refiner"}))


@pytest.mark.parametrize("model", ["sdxl", "a/b/c", "s3://bucket/model", "org/model with spaces"])
def test_what_is_neither_folder_nor_hub_id_is_refused(model: str) -> None:
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        check_model(Generation(model=model))


def test_the_refiner_is_looked_at_too(tiny_sdxl_folder: Path, tmp_path: Path) -> None:
    refiner = {"model": str(tmp_path / "missing")}
    with pytest.raises(ModelError, match="missing: no such model folder"):
        check_model(Generation(model=str(tiny_sdxl_folder), refiner=refiner))


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        ({"name": "DPMSolverMultistep"}, "did you mean DPMSolverMultistepScheduler"),
        ({"name": "DiffusionPipeline"}, "has no DiffusionPipeline"),
        ({"name": "EulerDiscreteScheduler", "config": {"timestep_spacin": "trailing"}}, "did you mean timestep_spacin"),
    ],
)
def test_an_unknown_scheduler_or_setting_is_refused_with_the_nearest_names(
    scheduler: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        check_model(Generation(model="org/model", scheduler=scheduler))


@pytest.mark.parametrize(
    ("generation", "sentence"),
    [
        ({"num_inference_steps": 200, "scheduler": {"name": "LCMScheduler"}}, "LCMScheduler refuses the settings"),
        (
            {"scheduler": {"name": "EulerDiscreteScheduler", "config": {"timestep_spacing": "trailling"}}},
            "EulerDiscreteScheduler refuses timestep_spacing: trailling with num_inference_steps 50: ",
        ),
        (
            {"scheduler": {"name": "DPMSolverMultistepScheduler", "config": {"solver_type": "euler"}}},
            "DPMSolverMultistepScheduler refuses solver_type: euler",
        ),
        (
            {"scheduler": {"name": "EulerDiscreteScheduler", "config": {"num_train_timesteps": "many"}}},
            "EulerDiscreteScheduler refuses num_train_timesteps: many",
        ),
    ],
)
def test_what_a_scheduler_cannot_do_is_said_before_and_while_loading(
    tiny_sdxl_folder: Path, generation: dict[str, Any], sentence: str
) -> None:
    chosen = Generation(model=str(tiny_sdxl_folder), **generation)
    for use in (lambda: check_model(chosen), DiffusersGenerator(chosen).load):
        with pytest.raises(RecipeError, match=f"generation.scheduler: {re.escape(sentence)}"):
            use()


def test_the_models_own_scheduler_is_asked_for_its_steps(tiny_sdxl_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sdxl_folder, tmp_path / "model")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": "DDIMScheduler", "num_train_timesteps": 100}))
    check_model(Generation(model=str(folder), num_inference_steps=100))
    with pytest.raises(RecipeError, match="DDIMScheduler refuses the settings with num_inference_steps 101"):
        check_model(Generation(model=str(folder), num_inference_steps=101))
    file.write_text("{")
    with pytest.raises(ModelError, match=r"scheduler_config\.json: does not describe a scheduler"):
        check_model(Generation(model=str(folder)))


def test_a_folder_that_draws_no_images_from_text_is_refused(tiny_sdxl_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sdxl_folder, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "AudioLDM2Pipeline"}))
    with pytest.raises(ModelError, match="cannot be loaded as a text-to-image pipeline"):
        DiffusersGenerator(Generation(model=str(folder))).load()


def test_a_hub_model_without_network_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"no-such-org/no-such-model: cannot be loaded .* the network") as refused:
        DiffusersGenerator(Generation(model="no-such-org/no-such-model", revision="v1")).load()
    assert "\n" not in str(refused.value)
