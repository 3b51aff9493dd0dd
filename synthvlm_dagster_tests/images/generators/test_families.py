import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.naming import failed_images_table
from synthvlm_dagster.images.table import tries
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.generators.tiny_models import CLIP_CONTEXT, SIZE
from synthvlm_dagster_tests.images.noise import SHARD, write_plan
from synthvlm_dagster_tests.shards import generate_shard

MakeGenerator = Callable[..., DiffusersGenerator]
FAMILIES = ["sd", "sdxl", "sd3", "flux", "pixart-sigma", "pixart-alpha"]
GUIDED = [family for family in FAMILIES if family != "flux"]
NAMED = ["sdxl", "sd3", "flux", "pixart-sigma"]
TEXTS = ["a red circle", "Two BLUE squares", "nothing", "stripes"]
SEEDS = [0, 1, 2**62, 2**63 - 1]


def draw(generator: DiffusersGenerator, texts: list[str], seeds: list[int]) -> np.ndarray:
    """uint8, shape (texts, height, width, 3)."""
    images = []
    for image, problem in generator.decode(generator.denoise(texts, seeds)):
        assert problem is None
        assert image is not None
        images.append(image)
    return np.stack(images)


def most_different(one: np.ndarray, another: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - another).max())


def drawn_by_diffusers(folder: Path, **arguments: Any) -> np.ndarray:
    """What the pipeline makes of the same texts by itself, from the texts to PIL images."""
    from diffusers import AutoPipelineForText2Image

    pipeline = AutoPipelineForText2Image.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if "clean_caption" in inspect.signature(pipeline.__call__).parameters and "Sigma" in type(pipeline).__name__:
        arguments["clean_caption"] = False
    images = pipeline(
        prompt=TEXTS,
        num_inference_steps=3,
        width=SIZE,
        height=SIZE,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in SEEDS],
        **arguments,
    ).images
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_those_of_the_pipeline_itself(
    make_generator: MakeGenerator, tiny_model: Callable[[str], Path], family: str
) -> None:
    own = drawn_by_diffusers(tiny_model(family), guidance_scale=3.0)
    drawn = draw(make_generator(family), TEXTS, SEEDS)
    assert drawn.shape == (len(TEXTS), SIZE, SIZE, 3)
    assert drawn.std() > 1
    # The empty prompt is encoded once, by itself; the pipeline encodes a batch of it, in another order of summation.
    assert most_different(drawn, own) <= (0 if family in ("sdxl", "flux") else 1)


@pytest.mark.parametrize("family", GUIDED)
def test_a_negative_prompt_does_what_it_does_in_the_pipeline(
    make_generator: MakeGenerator, tiny_model: Callable[[str], Path], family: str
) -> None:
    own = drawn_by_diffusers(tiny_model(family), guidance_scale=3.0, negative_prompt=["fog"] * len(TEXTS))
    assert most_different(draw(make_generator(family, negative_prompt="fog"), TEXTS, SEEDS), own) <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_gives_the_bytes_of_the_pipelines_own(make_generator: MakeGenerator, family: str) -> None:
    generator = make_generator(family)
    generator.load()
    pipeline = generator._pipelines[0]
    called: list[tuple[Any, Any]] = []
    original = type(pipeline).__call__

    class Recorded(type(pipeline)):  # type: ignore[misc]
        def __call__(self, **arguments: Any) -> Any:
            states = [one.get_state() for one in arguments["generator"]]
            called.append((arguments, states))
            return original(self, **arguments)

    Recorded.__call__.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    pipeline.__class__ = Recorded
    drawn = draw(generator, TEXTS, SEEDS)
    [(arguments, states)] = called
    for one, state in zip(arguments["generator"], states, strict=True):
        one.set_state(state)
    with torch.no_grad():
        images = original(pipeline, **(arguments | {"output_type": "pil"})).images
    assert [image.tobytes() for image in images] == [image.tobytes() for image in drawn]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_repeats_itself_and_other_batches_give_the_same_pictures(
    make_generator: MakeGenerator, family: str
) -> None:
    generator = make_generator(family)
    together = draw(generator, TEXTS, SEEDS)
    assert np.array_equal(draw(make_generator(family), TEXTS, SEEDS), together)
    alone = np.concatenate([draw(generator, [text], [seed]) for text, seed in zip(TEXTS, SEEDS, strict=True)])
    assert most_different(together, alone) <= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_any_caption_becomes_an_image(
    make_generator: MakeGenerator, family: str, capfd: pytest.CaptureFixture[str]
) -> None:
    generator = make_generator(family)
    generator.load()
    capfd.readouterr()
    captions = ["word " * 2000, "🔴🟦 \u202e\u0000\u0007\r\n", "", "</s> <|endoftext|> (((weights:1.5)))"]
    assert draw(generator, captions, SEEDS).shape == (4, SIZE, SIZE, 3)
    assert generator.truncated(captions)[0]
    assert generator.truncated(["", "a red"]) == [False, False]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("family", "context"),
    [("sd", CLIP_CONTEXT), ("sdxl", CLIP_CONTEXT), ("sd3", 256), ("flux", 512), ("pixart-sigma", 300)],
)
def test_texts_are_truncated_beyond_the_context_of_the_family(
    make_generator: MakeGenerator, family: str, context: int
) -> None:
    # Tokenizers without merges: a token per letter; CLIP marks start and end, T5 the end and the beginning of a word.
    longest = "x" * (context - 2)
    assert make_generator(family).truncated([longest, longest + "x"]) == [False, True]


@pytest.mark.parametrize("family", NAMED)
def test_the_family_may_be_named_and_must_fit(make_generator: MakeGenerator, family: str) -> None:
    make_generator(family, generator=family).load()
    other = next(name for name in NAMED if name != family)
    with pytest.raises(RecipeError, match=rf"generation\.generator: .* not of the family {other}"):
        make_generator(family, generator=other).load()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_that_is_not_finite_is_a_problem_and_the_others_are_not(
    make_generator: MakeGenerator, family: str
) -> None:
    generator = make_generator(family)
    latents = generator.denoise(TEXTS, SEEDS)
    whole = draw(generator, TEXTS, SEEDS)
    values = latents if isinstance(latents, torch.Tensor) else latents.images
    values[1] = float("nan")
    values[(3,) + (0,) * (values.ndim - 1)] = float("nan" if family == "pixart-alpha" else "inf")
    drawn = generator.decode(latents)
    assert [image is None for image, _ in drawn] == [False, True, False, True]
    assert all("not finite" in (drawn[row].problem or "") for row in (1, 3))
    assert all(np.array_equal(drawn[row].image, whole[row]) for row in (0, 2))


def test_what_the_safety_checker_refuses_is_a_problem(make_generator: MakeGenerator) -> None:
    generator = make_generator("sd")
    latents = generator.denoise(TEXTS[:2], SEEDS[:2])
    assert [problem for _, problem in generator.decode(latents)] == [None, None]
    generator._pipelines[0].safety_checker.concept_embeds_weights.data[:] = -2
    assert [image for image, _ in generator.decode(latents)] == [None, None]
    assert all("safety checker" in (problem or "") for _, problem in generator.decode(latents))


def test_refused_pictures_of_a_shard_are_counted_and_drawn_again(
    tiny_model: Callable[[str], Path], tiny_recipe: Callable[..., Recipe], caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny_recipe({"model": str(tiny_model("sd")), "retries": 1})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generator = DiffusersGenerator(recipe.generation)
    generator.load()
    checker = generator.pipelines[0].safety_checker
    checker.concept_embeds.data[:] = torch.nn.functional.one_hot(torch.tensor(0), checker.concept_embeds.shape[1])
    cosines: list[float] = []
    watching = checker.visual_projection.register_forward_hook(
        lambda _, __, embedding: cosines.extend(torch.nn.functional.normalize(embedding)[:, 0].tolist())
    )
    first = tries(recipe, planned_images(recipe, storage, SHARD).missing)
    draw(generator, [one.text for one in first], [one.seed for one in first])
    watching.remove()
    # Between the two pictures of six that lie most apart, since the checker rounds to three digits.
    ordered = sorted(cosines)
    _, threshold = max((higher - lower, (higher + lower) / 2) for lower, higher in itertools.pairwise(ordered))
    checker.concept_embeds_weights.data[:] = threshold
    refused = [one.image_id for one, cosine in zip(first, cosines, strict=True) if cosine > threshold]

    messages: list[str] = []
    summary = generate_shard(recipe, storage, SHARD, generator, messages.append)
    assert summary.retried == len(refused) > 0
    assert summary.made + summary.failures.total() == 6
    assert summary.made >= 6 - len(refused)
    assert f"{len(refused)} pictures cannot be used ({len(refused)} refused by the model's safety" in messages[0]
    assert "NSFW" not in caplog.text
    tried = storage.scan(failed_images_table(recipe, SHARD)).collect()
    assert sorted(tried.filter(tried["retry"] == 0)["image_id"]) == sorted(refused)
    assert set(tried["problem"]) == {"refused by the model's safety checker"}


@pytest.mark.parametrize(
    ("family", "settings", "sentence"),
    [
        ("sd3", {"guidance_rescale": 0.7}, r"guidance_rescale: StableDiffusion3Pipeline has no such parameter"),
        ("flux", {"guidance_rescale": 0.7}, r"guidance_rescale: FluxPipeline has no such parameter"),
        ("flux", {"negative_prompt": "fog"}, r"negative_prompt: FluxPipeline is distilled"),
        ("flux", {"guidance_end": 0.5}, r"guidance_end: FluxPipeline cannot end guidance early"),
        ("pixart-sigma", {"guidance_end": 0.5}, r"guidance_end: PixArtSigmaPipeline cannot end guidance early"),
        ("pixart-alpha", {"guidance_end": 0.5}, r"guidance_end: PixArtAlphaPipeline cannot end guidance early"),
        ("pixart-sigma", {"long_prompts": "chunk"}, r"long_prompts: PixArtSigmaPipeline does not read its texts"),
        ("sd3", {"long_prompts": "chunk"}, r"long_prompts: StableDiffusion3Pipeline does not read its texts"),
        ("sdxl", {"generator": "sdxl-turbo"}, r"guidance_scale: StableDiffusionXLPipeline is distilled"),
        ("flux", {"scheduler": {"name": "DDIMScheduler"}}, r"FluxPipeline refuses these settings: .*DDIMScheduler"),
    ],
)
def test_what_a_family_cannot_do_is_refused(
    make_generator: MakeGenerator, family: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=rf"generation.*{sentence}"):
        make_generator(family, **settings).denoise(TEXTS[:1], SEEDS[:1])


def test_turbo_draws_in_one_step_without_guidance(make_generator: MakeGenerator) -> None:
    generator = make_generator("sdxl", generator="sdxl-turbo", guidance_scale=0, num_inference_steps=1)
    generator.load()
    batches: list[int] = []
    generator._pipelines[0].unet.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].shape[0]))
    assert draw(generator, TEXTS, SEEDS).std() > 1
    assert batches == [len(TEXTS)]
