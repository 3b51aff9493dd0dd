import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster_tests.conftest import TINY_SIZE, save_tiny_sdxl
from synthvlm_dagster_tests.images.generators.test_families import SEEDS, TEXTS, draw


@pytest.fixture
def generator(tiny_recipe: Callable[..., Recipe]) -> DiffusersGenerator:
    return DiffusersGenerator(tiny_recipe().generation)


def pixels(generator: DiffusersGenerator, texts: list[str], seeds: list[int]) -> np.ndarray:
    return draw(generator, texts, seeds).astype(int)


@pytest.fixture(scope="session")
def tiny_refiner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-refiner", seed=1, refiner=True)


def test_images_have_the_recipes_size(tiny_recipe: Callable[..., Recipe]) -> None:
    generator = DiffusersGenerator(tiny_recipe({"width": 48, "height": TINY_SIZE}).generation)
    [image] = draw(generator, TEXTS[:1], [5])
    assert (image.dtype, image.shape) == (np.uint8, (TINY_SIZE, 48, 3))


def test_same_text_seed_and_batch_shape_give_identical_bytes(
    generator: DiffusersGenerator, tiny_recipe: Callable[..., Recipe]
) -> None:
    first = [image.tobytes() for image in draw(generator, TEXTS, SEEDS)]
    another = DiffusersGenerator(tiny_recipe().generation)
    assert [image.tobytes() for image in draw(another, TEXTS, SEEDS)] == first
    assert len(set(first)) == len(TEXTS)


def test_another_batch_size_gives_the_same_pictures_within_numerical_noise(generator: DiffusersGenerator) -> None:
    together = pixels(generator, TEXTS, SEEDS)
    alone = np.concatenate(
        [pixels(generator, [text], [seed]) for text, seed in zip(TEXTS[::-1], SEEDS[::-1], strict=True)]
    )[::-1]
    assert np.abs(together - alone).max() <= 2


def test_text_seed_and_negative_prompt_change_the_picture(
    generator: DiffusersGenerator, tiny_recipe: Callable[..., Recipe]
) -> None:
    picture = pixels(generator, ["a red circle"], [1])
    unlike = DiffusersGenerator(tiny_recipe({"negative_prompt": "a blue square"}).generation)
    others = [
        pixels(generator, ["some green triangle"], [1]),
        pixels(generator, ["a red circle"], [2]),
        pixels(unlike, ["a red circle"], [1]),
    ]
    assert all(np.abs(picture - other).mean() > 1 for other in others)


def test_any_caption_becomes_an_image_silently(
    generator: DiffusersGenerator, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    captions = ["word " * 2000, "🔴🟦 \u202e\u0000\u0007\r\n", "", "\u200d" * 50, "<|endoftext|> (((weights:1.5)))"]
    generator.load()
    capfd.readouterr()
    recwarn.clear()
    assert draw(generator, captions, list(range(len(captions)))).shape == (len(captions), TINY_SIZE, TINY_SIZE, 3)
    assert capfd.readouterr() == ("", "")
    # Python shows deprecations to developers alone; diffusers' Euler scheduler has one.
    assert [str(warning.message) for warning in recwarn if warning.category is not DeprecationWarning] == []


def test_loading_is_silent_and_happens_once(generator: DiffusersGenerator, capfd: pytest.CaptureFixture[str]) -> None:
    assert generator.load() > 0
    assert generator.load() == 0
    assert capfd.readouterr() == ("", "")


def test_a_local_folder_that_takes_long_to_load_is_said_to_be_loading(
    generator: DiffusersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthvlm_dagster.progress.SECONDS_BETWEEN_REPORTS", 0.001)
    messages: list[str] = []
    generator.load(messages.append)
    model = generator._generation.model
    assert set(messages) == {f"loading {model}", f"still loading {model}"}
    assert generator.commits() == {}


def test_float16_on_a_cpu_is_computed_in_float32_with_a_warning(
    generator: DiffusersGenerator, tiny_recipe: Callable[..., Recipe]
) -> None:
    half = DiffusersGenerator(tiny_recipe({"dtype": "float16"}).generation)
    with pytest.warns(UserWarning, match="float16 on a CPU is computed in float32"):
        half.load()
    assert np.array_equal(pixels(half, TEXTS[:1], [3]), pixels(generator, TEXTS[:1], [3]))


def test_bfloat16_is_loaded_as_such(tiny_recipe: Callable[..., Recipe]) -> None:
    import torch

    generator = DiffusersGenerator(tiny_recipe({"dtype": "bfloat16"}).generation)
    generator.load()
    assert generator._pipelines[0].unet.dtype == torch.bfloat16
    assert pixels(generator, TEXTS[:1], [3]).std() > 1


def test_a_scheduler_of_the_recipe_takes_the_place_of_the_models(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"scheduler": {"name": "DDIMScheduler", "config": {"timestep_spacing": "trailing"}}})
    generator = DiffusersGenerator(recipe.generation)
    generator.load()
    scheduler = generator._pipelines[0].scheduler
    assert type(scheduler).__name__ == "DDIMScheduler"
    assert scheduler.config.timestep_spacing == "trailing"
    assert scheduler.config.beta_schedule == "linear"


def test_the_refiner_takes_over_where_the_base_model_stops(
    tiny_recipe: Callable[..., Recipe],
    tiny_refiner_folder: Path,
    generator: DiffusersGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

    asked = []
    for pipeline in (StableDiffusionXLPipeline, StableDiffusionXLImg2ImgPipeline):
        original = pipeline.__call__

        def recorded(self, *args, _original=original, **arguments):
            asked.append((type(self).__name__, arguments))
            return _original(self, *args, **arguments)

        recorded.__signature__ = inspect.signature(original)
        monkeypatch.setattr(pipeline, "__call__", recorded)
    settings = {"num_inference_steps": 10, "refiner": {"model": str(tiny_refiner_folder), "handover": 0.8}}
    refined = DiffusersGenerator(tiny_recipe(settings).generation)
    refined.load()
    base, refiner = refined._pipelines
    steps = {"base": 0, "refiner": 0}
    for name, pipeline in (("base", base), ("refiner", refiner)):
        pipeline.unet.register_forward_pre_hook(lambda *_, name=name: steps.update({name: steps[name] + 1}))
    picture = pixels(refined, TEXTS, SEEDS)

    assert [name for name, _ in asked] == ["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"]
    assert asked[0][1]["denoising_end"] == asked[1][1]["denoising_start"] == 0.8
    assert asked[0][1]["output_type"] == "latent"
    assert steps == {"base": 8, "refiner": 2}
    assert refiner.vae is base.vae
    assert refiner.text_encoder_2 is base.text_encoder_2
    whole = DiffusersGenerator(tiny_recipe({"num_inference_steps": 10}).generation)
    assert 0 < np.abs(picture - pixels(whole, TEXTS, SEEDS)).mean() < 20


def test_a_device_that_does_not_exist_is_refused(tiny_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"generation\.device: torch cannot use 'gpu\b"):
        DiffusersGenerator(tiny_recipe({"device": "gpu"}).generation).load()
