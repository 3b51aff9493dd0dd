from collections.abc import Callable

import numpy as np
import pytest
import torch

from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster_tests.images.generators.test_families import SEEDS, TEXTS, MakeGenerator, draw, most_different
from synthvlm_dagster_tests.images.generators.tiny_models import CLIP_CONTEXT

CONTENT = CLIP_CONTEXT - 2
SHORT = "a red circle"
LONG = "a red circle above a small blue square, and a striped background"


def embeddings(generator: DiffusersGenerator, texts: list[str]) -> dict[str, torch.Tensor]:
    generator.load()
    with torch.no_grad():
        return generator._loaded.conditions(generator._pipelines[0], texts)


@pytest.fixture(params=["sd", "sdxl"])
def chunked(request: pytest.FixtureRequest, make_generator: MakeGenerator) -> Callable[..., DiffusersGenerator]:
    return lambda **changed: make_generator(request.param, long_prompts="chunk", **changed)


def test_a_text_of_one_context_is_read_as_ever(make_generator: MakeGenerator) -> None:
    for family in ("sd", "sdxl"):
        whole = draw(make_generator(family), ["a red"], [1])
        assert most_different(draw(make_generator(family, long_prompts="chunk"), ["a red"], [1]), whole) <= 1


def test_a_long_text_fills_as_many_contexts_as_it_needs(chunked: Callable[..., DiffusersGenerator]) -> None:
    generator = chunked()
    letters = "x" * (2 * CONTENT + 1)
    read = embeddings(generator, [letters])
    assert read["prompt_embeds"].shape[1] == 3 * CLIP_CONTEXT
    assert read["negative_prompt_embeds"].shape == read["prompt_embeds"].shape
    shorter = embeddings(generator, [letters[: CONTENT + 1]])
    first = [one["prompt_embeds"][:, :CLIP_CONTEXT] for one in (read, shorter)]
    assert torch.allclose(*first, atol=1e-6)
    assert generator.truncated([letters]) == [False]


def test_what_comes_after_the_first_context_changes_the_picture(
    chunked: Callable[..., DiffusersGenerator], make_generator: MakeGenerator
) -> None:
    other = LONG.replace("striped", "plain")
    generator = chunked()
    assert most_different(draw(generator, [LONG], [1]), draw(generator, [other], [1])) > 0
    truncating = make_generator("sdxl")
    assert most_different(draw(truncating, [LONG], [1]), draw(truncating, [other], [1])) == 0
    assert truncating.truncated([LONG, "a red"]) == [True, False]


def test_a_picture_does_not_depend_on_the_length_of_other_texts(chunked: Callable[..., DiffusersGenerator]) -> None:
    generator = chunked()
    texts = [SHORT[:5], LONG, "nothing", LONG * 3]
    together = draw(generator, texts, SEEDS)
    alone = np.concatenate([draw(generator, [text], [seed]) for text, seed in zip(texts, SEEDS, strict=True)])
    assert most_different(together, alone) <= 2


def test_brackets_and_plus_signs_are_read_as_they_stand(chunked: Callable[..., DiffusersGenerator]) -> None:
    # In prompt languages these are weights, which take no room of the context.
    for text in ("red" + "+" * CONTENT, "(" * CONTENT + "red"):
        assert embeddings(chunked(), [text])["prompt_embeds"].shape[1] == 2 * CLIP_CONTEXT


def test_a_long_negative_prompt_is_read_to_its_end(chunked: Callable[..., DiffusersGenerator]) -> None:
    generator = chunked(negative_prompt="y" * (CONTENT + 1))
    read = embeddings(generator, [SHORT[:5]])
    assert read["prompt_embeds"].shape[1] == read["negative_prompt_embeds"].shape[1] == 2 * CLIP_CONTEXT
    assert draw(generator, TEXTS, SEEDS).std() > 1


def test_the_negative_prompt_is_encoded_once(make_generator: MakeGenerator) -> None:
    generator = make_generator("sdxl", negative_prompt="fog")
    generator.load()
    rows: list[int] = []
    generator._pipelines[0].text_encoder.register_forward_pre_hook(
        lambda _, inputs: rows.append(len(inputs[0])),
    )
    for _ in range(3):
        draw(generator, TEXTS, SEEDS)
    assert rows == [4, 1, 4, 4]
