import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.pipeline import draw_images
from synthvlm_dagster.recipe import Generation
from synthvlm_dagster_tests.images.noise import NoiseGenerator, noise


class Prompt(NamedTuple):
    text: str
    seed: int


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"caption {number}", number) for number in range(count)]


def settings(**changed: object) -> Generation:
    return Generation.model_validate({"model": "none", "batch_size": 4, **changed})


def draw(
    generator: NoiseGenerator, count: int, batches: Batches, on_progress: Callable[[str], None] = lambda _: None
) -> list[tuple[int, int]]:
    """Seeds of the prompts and of the pictures that came out for them."""
    drawn = draw_images(generator, prompts(count), batches, lambda prompt, image: (prompt, image), on_progress)
    results = []
    for prompt, future in drawn:
        same, image = future.result()
        assert same == prompt
        assert image.image is not None
        results.append((prompt.seed, int((image.image == noise(prompt.seed)).all())))
    return results


@hypothesis.settings(deadline=None)
@given(
    count=st.integers(0, 30),
    size=st.integers(1, 9),
    most_denoised=st.integers(1, 9),
    most_decoded=st.integers(1, 9),
    compiled=st.booleans(),
)
def test_every_prompt_gets_its_own_picture_once(
    count: int, size: int, most_denoised: int, most_decoded: int, compiled: bool
) -> None:
    generator = NoiseGenerator(most_denoised=most_denoised, most_decoded=most_decoded)
    batches = Batches(settings(batch_size=size, compile=compiled))
    assert sorted(draw(generator, count, batches)) == [(seed, 1) for seed in range(count)]
    fitting = min(most_denoised, most_decoded)
    if size <= fitting:
        assert batches.size == size
    elif count >= size:
        assert (fitting + 1) // 2 <= batches.size <= fitting


def test_prompts_are_drawn_in_order_in_full_batches() -> None:
    generator = NoiseGenerator()
    assert [seed for seed, _ in draw(generator, 10, Batches(settings()))] == list(range(10))
    assert generator.batches == [4, 4, 2]


def test_a_compiled_model_sees_one_shape() -> None:
    generator = NoiseGenerator()
    assert len(draw(generator, 10, Batches(settings(compile=True)))) == 10
    assert generator.batches == [4, 4, 4]
    assert generator.seeds == [*range(10), 9, 9]


def test_the_next_batch_is_denoised_while_one_is_decoded() -> None:
    second_is_denoised = threading.Event()
    generator = NoiseGenerator(
        on_denoise=lambda: second_is_denoised.set() if len(generator.batches) == 2 else None,
        on_decode=lambda: None if second_is_denoised.wait(60) else pytest.fail("nothing was denoised meanwhile"),
    )
    assert len(draw(generator, 12, Batches(settings()))) == 12


def test_the_next_batch_is_denoised_while_one_is_encoded() -> None:
    second_is_denoised = threading.Event()
    generator = NoiseGenerator(on_denoise=lambda: second_is_denoised.set() if len(generator.batches) == 2 else None)

    def encode(_prompt: Prompt, _image: Drawn) -> bool:
        return second_is_denoised.wait(60)

    drawn = list(draw_images(generator, prompts(12), Batches(settings()), encode, print))
    assert all(future.result() for _, future in drawn)


def test_denoising_stays_in_the_callers_thread_and_at_most_two_batches_ahead() -> None:
    decoded = 0
    ahead = []

    def count_decoded() -> None:
        nonlocal decoded
        time.sleep(0.002)
        decoded += 1

    generator = NoiseGenerator(
        on_denoise=lambda: ahead.append(len(generator.batches) - decoded), on_decode=count_decoded
    )
    draw(generator, 60, Batches(settings()))
    assert generator.denoising_threads == {threading.get_ident()}
    # The one being denoised, one waiting, and one whose end of decoding has not been noticed yet.
    assert max(ahead) <= 3


def test_memory_that_is_full_halves_the_batch_for_good_and_says_so() -> None:
    messages: list[str] = []
    batches = Batches(settings(batch_size=16))
    generator = NoiseGenerator(most_denoised=5)
    draw(generator, 20, batches, messages.append)
    assert generator.batches == [4] * 5
    assert [message.split(":")[0] for message in messages] == [
        "out of device memory with 16 images at once",
        "out of device memory with 8 images at once",
    ]
    assert "generation.batch_size to 4" in messages[-1]
    again = NoiseGenerator(most_denoised=5)
    draw(again, 8, batches, messages.append)
    assert again.batches == [4, 4]
    assert len(messages) == 2


def test_memory_that_is_full_at_decoding_draws_the_batch_again_in_halves() -> None:
    generator = NoiseGenerator(most_decoded=3)
    batches = Batches(settings(batch_size=6))
    assert len(draw(generator, 12, batches)) == 12
    assert batches.size == 3


def test_one_image_that_fits_only_alone_is_drawn_alone() -> None:
    on_the_device = 0

    class Small(NoiseGenerator):
        def denoise(self, texts, seeds):
            nonlocal on_the_device
            if on_the_device:
                self._most_denoised = 0
            result = super().denoise(texts, seeds)
            on_the_device += 1
            return result

        def decode(self, latents):
            nonlocal on_the_device
            time.sleep(0.01)
            on_the_device -= 1
            self._most_denoised = 1000
            return super().decode(latents)

    messages: list[str] = []
    batches = Batches(settings(batch_size=1))
    assert len(draw(Small(), 5, batches, messages.append)) == 5
    assert not batches.overlap
    assert "each image is decoded before the next" in messages[-1]


@pytest.mark.parametrize("limits", [{"most_denoised": 0}, {"most_decoded": 0}])
def test_not_even_one_image_is_an_error_that_says_what_to_do(limits: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=r"generation\.batch_size: .*one image of 1024 × 1024.*generation\.width"):
        draw(NoiseGenerator(**limits), 5, Batches(settings()))


@pytest.mark.parametrize(
    ("where", "kind"), [("on_denoise", ValueError), ("on_denoise", KeyboardInterrupt), ("on_decode", ValueError)]
)
def test_what_goes_wrong_in_any_step_ends_the_work(where: str, kind: type[BaseException]) -> None:
    def fail() -> None:
        if len(generator.batches) >= 3:
            raise kind("out of order")

    generator = NoiseGenerator(**{where: fail})
    threads = threading.active_count()
    with pytest.raises(kind, match="out of order"):
        draw(generator, 400, Batches(settings()))
    assert len(generator.batches) <= 5
    assert threading.active_count() == threads


def test_what_goes_wrong_in_finishing_an_image_is_its_result() -> None:
    def fail(prompt: Prompt, _image: Drawn) -> None:
        if prompt.seed == 1:
            raise ValueError("no room")

    drawn = list(draw_images(NoiseGenerator(), prompts(3), Batches(settings()), fail, print))
    assert [type(future.exception()) for _, future in drawn] == [type(None), ValueError, type(None)]


def test_closing_the_iterator_ends_the_work() -> None:
    generator = NoiseGenerator()
    threads = threading.active_count()
    drawn = draw_images(generator, prompts(400), Batches(settings()), lambda *_: None, print)
    next(drawn)
    drawn.close()
    assert len(generator.batches) <= 3
    assert threading.active_count() == threads
