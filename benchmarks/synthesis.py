"""Images per second of one device: the official SynthVLM loop against this package, in one run.

    python benchmarks/synthesis.py                                        # the demo's model; on a CPU, when that is all
    python benchmarks/synthesis.py --device cuda --model random-sdxl      # SDXL at 1024 x 1024

Loops:
    official    one prompt at a time, eager, float16: the base model to 0.8 of the steps, then the refiner, which is
                called with denoising_end=0.8 once more and so stops early and leaves noise in the picture (diffusions/
                img_from_sdxl.py of starriver030515/SynthVLM); a JPEG file after each
    handover    the same, with the refiner called as diffusers documents it: denoising_start=0.8
    paper, paper-fast, few-steps
                this package: a whole shard through `generate_shard` into a store in a temporary folder, with the
                presets paper, paper-fast and turbo (whose size becomes that of the others)

`--model` is `demo`, `random-sdxl` (see random_sdxl.py; written into --models-folder once) or a folder of pipelines
named base and, perhaps, refiner, and of an autoencoder named vae. Without a refiner the base model does every step and
there is no handover; without an autoencoder paper-fast keeps the model's own. With `demo`, guidance of paper and of the
official loop is that of the demo's recipe. Steps of the presets keep their ratio to --steps: 60 gives 25 and 4. On a
CPU everything is float32, or what --generation has as its dtype, and nothing is compiled.

All models are loaded first and stay on the device; every loop draws a first batch in five steps, which compiles what
its preset compiles. Seconds of images/s are wall-clock time after that. Parts are seconds per image, each part waited
for: of the one-at-a-time loops in the measured run, of this package in one batch drawn part by part beforehand, because
in the run itself they overlap. A UNet evaluation is one image's prediction at one step; guidance makes two of a step.
Each round measures all loops, every second round in reverse order; figures are medians over rounds. The device's idle
time is the share of a shard's time in which it neither computes nor copies. It is measured once, after the first round,
in one more shard of as many images (of the one-at-a-time loops: in two images more) under torch's profiler, which slows
the host a little. On a CPU it is the share in which torch computes nothing. Peak memory is without the models of other
loops.

--json is written anew after every measurement. After --seconds no further measurement begins, and what there is is
reported.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import diffusers
import polars as pl
import torch
import yaml
from PIL import Image
from random_sdxl import save_random_sdxl

from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.fingerprint import model_identity
from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.generators.families import family_of
from synthvlm_dagster.images.plan import PLAN_TABLE, plan_attempts
from synthvlm_dagster.images.table import Try, encode_image, image_rows, tries
from synthvlm_dagster.models.quiet import quiet_models
from synthvlm_dagster.recipe import Attempts, Recipe, load_recipe
from synthvlm_dagster.recipe.loading import parse_recipe
from synthvlm_dagster.store.chunks import write_chunk
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.shards import generate_shard

ONE_AT_A_TIME = ("official", "handover")
PRESETS = {"paper": "paper", "paper-fast": "paper-fast", "few-steps": "turbo"}
LOOPS = (*ONE_AT_A_TIME, *PRESETS)
PARTS = ("text", "denoise", "decode", "encode and write")
HANDOVER = 0.8
PAPER_STEPS, PAPER_GUIDANCE, PAPER_SIZE = 60, 20.0, 1024
WARM_UP_STEPS = 5
"""Enough for the refiner, and for steps with and without guidance."""
PARTED, PROFILED = "parts", "profiled"
"""Measurements of a loop beside its rounds."""
PROFILED_ONE_AT_A_TIME = 2
"""Images."""


@dataclass(frozen=True)
class Setting:
    """What all loops have in common."""

    base: Path
    refiner: Path | None
    vae: Path | None
    device: torch.device
    size: int
    """Width and height, pixels."""
    steps: int
    guidance: float
    generation: dict[str, Any]
    """Settings of the recipe that are laid over every preset."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the official loop; this package goes by its presets, except on a CPU."""
        return getattr(torch, self.generation["dtype"]) if self.device.type == "cpu" else torch.float16


@dataclass
class Measurement:
    """One loop, once."""

    images: int
    seconds: float
    parts: dict[str, float]
    """Seconds per image."""
    evaluations: float
    """UNet evaluations per image."""
    teraflop: float
    """Of those, per image."""
    peak_bytes: int | None
    unusable: int = 0
    batch_size: int = 1
    idle: float | None = None
    """Share of the time in which the device does nothing; None: not measured in this round."""
    load_seconds: float = 0.0
    """Of the loop's models."""
    first_seconds: float = 0.0
    """Of the first batch, in WARM_UP_STEPS steps, and compilation."""


def main() -> None:
    """Measure the loops, print how they compare."""
    began = time.monotonic()
    options = _options()
    device = torch.device(options.device)
    rounds: dict[str, list[Measurement]] = {}
    peak = matmul_peak(device, _setting_dtype(options))

    def in_time(what: str) -> bool:
        print(f"{time.monotonic() - began:5.0f} s: {what} ...", flush=True)
        return time.monotonic() - began < options.seconds

    def save() -> None:
        if options.json:
            found = {loop: [asdict(one) for one in measurements] for loop, measurements in rounds.items()}
            options.json.write_text(json.dumps({"matmul_peak": peak, "rounds": found}, indent=2), encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        setting = _setting(options, device)
        names = [name for name in options.loops if name != "handover" or setting.refiner]
        texts = _captions(options.images)
        few = texts[: options.one_at_a_time_images or options.images]
        many = _captions(options.fast_images or options.images)
        loops: dict[str, Loop] = {}
        official: list[Any] = []
        for name in names:
            if in_time(f"{name}: load, first batch"):
                loops[name] = (
                    OneAtATime(setting, few, name == "handover", Path(folder) / name, official)
                    if name in ONE_AT_A_TIME
                    else Package(
                        setting, PRESETS[name], texts if name == "paper" else many, Path(folder) / name, options.repeats
                    )
                )
        for number in range(options.repeats):
            for name in loops if number % 2 == 0 else reversed(loops):
                if in_time(f"{name}: round {number + 1} of {options.repeats}"):
                    rounds.setdefault(name, []).append(loops[name].measure(number))
                    save()
            for name in loops if number == 0 else ():
                if name in rounds and in_time(f"{name}: idle time"):
                    rounds[name][0].idle = loops[name].idle()
                    save()
    if not rounds:
        sys.exit("no time was left for a measurement: see --seconds")
    medians = {loop: _median(rounds[loop]) for loop in names if loop in rounds}
    _report(setting, medians, rounds, peak)


class Loop(Protocol):
    """A way of drawing images, ready to be measured."""

    def measure(self, number: int) -> Measurement:
        """Draw all images; `number` is that of the round."""
        ...

    def idle(self) -> float:
        """Share of the time in which the device does nothing while images are drawn."""
        ...


class OneAtATime:
    """The official loop: one prompt, one image, one file, then the next.

    Args:
        setting: models and steps.
        texts: the prompts.
        documented: hand over to the refiner as diffusers documents it, rather than as the official loop does.
        folder: gets the files.
        pipelines: get loaded by the first such loop, and are the second's too.
    """

    def __init__(
        self, setting: Setting, texts: Sequence[str], documented: bool, folder: Path, pipelines: list[Any]
    ) -> None:
        folder.mkdir()
        self._setting, self._texts, self._documented, self._folder = setting, texts, documented, folder
        self._pipelines = pipelines
        self._memory = Memory(setting.device)
        self._clock = Clock(setting.device)
        began = time.perf_counter()
        if not pipelines:
            with quiet_models():
                for model in filter(None, (setting.base, setting.refiner)):
                    loaded = diffusers.DiffusionPipeline.from_pretrained(
                        model, dtype=setting.dtype, use_safetensors=True
                    )
                    loaded.set_progress_bar_config(disable=True)
                    pipelines.append(loaded.to(setting.device))
        self._memory.is_loaded(pipelines)
        self._load_seconds = _begin(setting.device) - began
        began = time.perf_counter()
        with quiet_models():
            self._draw(texts[0], min(WARM_UP_STEPS, setting.steps))
        self._first_seconds = _begin(setting.device) - began

    def _draw(self, text: str, steps: int) -> Image.Image:
        common = {
            "negative_prompt": "",
            "num_inference_steps": steps,
            "guidance_scale": self._setting.guidance,
            "height": self._setting.size,
            "width": self._setting.size,
        }
        with self._clock.part("denoise"):
            if not self._setting.refiner:
                return self._pipelines[0](prompt=text, **common).images[0]
            base, refiner = self._pipelines
            latents = base(prompt=text, denoising_end=HANDOVER, output_type="latent", **common).images
            share = {"denoising_start": HANDOVER} if self._documented else {"denoising_end": HANDOVER}
            # The official loop passes height and width here too; this pipeline takes the size from the latents.
            settings = {name: value for name, value in common.items() if name not in ("height", "width")}
            return refiner(prompt=text, image=latents, **share, **settings).images[0]

    def measure(self, number: int) -> Measurement:
        """Draw all prompts."""
        clock, device = self._clock, self._setting.device
        clock.seconds.clear()
        with ExitStack() as stack:
            stack.enter_context(quiet_models())
            for pipeline in self._pipelines:
                stack.enter_context(clock.watched(pipeline, "encode_prompt", "text"))
                stack.enter_context(clock.watched(pipeline, "upcast_vae", "decode"))
                stack.enter_context(clock.watched(pipeline.vae, "decode", "decode"))
                stack.enter_context(clock.watched(pipeline.vae, "to", "decode"))
                stack.enter_context(clock.watched(pipeline.image_processor, "postprocess", "decode"))
            counts = stack.enter_context(unet_evaluations(self._pipelines))
            began = _begin(device)
            for place, text in enumerate(self._texts):
                image = self._draw(text, self._setting.steps)
                with clock.part("encode and write"):
                    image.save(self._folder / f"{number}-{place:09d}.jpg")
            seconds = time.perf_counter() - began
        images = len(self._texts)
        return Measurement(
            images,
            seconds,
            clock.per_image(images),
            sum(counts) / images,
            _teraflop(self._pipelines, counts, self._setting.size) / images,
            self._memory.peak(_peak_bytes(device)),
            load_seconds=self._load_seconds,
            first_seconds=self._first_seconds,
        )

    def idle(self) -> float:
        """Share of the time in which the device does nothing, over a few images."""
        with quiet_models(), idle_share(self._setting.device) as shares:
            for place, text in enumerate(self._texts[:PROFILED_ONE_AT_A_TIME]):
                self._draw(text, self._setting.steps).save(self._folder / f"profiled-{place}.jpg")
        return shares[0]


class Package:
    """This package: whole shards through `generate_shard`.

    Args:
        setting: models and steps.
        preset: of the recipe.
        texts: the captions of a shard.
        folder: gets the store.
        repeats: rounds that will be measured; each has a shard of its own.
    """

    def __init__(self, setting: Setting, preset: str, texts: Sequence[str], folder: Path, repeats: int) -> None:
        shards = [f"{number:04d}" for number in range(repeats + 2)]
        self._shards = dict(zip([*range(repeats), PARTED, PROFILED], shards, strict=True))
        self._setting, self._images = setting, len(texts)
        self._recipe = _recipe(setting, preset, len(texts), folder, len(shards))
        self._storage = Storage(self._recipe.storage)
        self._storage.write_table(PLAN_TABLE, pl.concat([_plan(texts, shard) for shard in shards]))
        self._memory = Memory(setting.device)
        self._generator = DiffusersGenerator(self._recipe.generation)
        self._batches = Batches(self._recipe.generation)
        self._load_seconds = self._generator.load()
        self._memory.is_loaded(self._generator.pipelines)
        began = time.perf_counter()
        self._draw_in_few_steps()
        self._first_seconds = _begin(setting.device) - began
        self._parts = self._parts_of_a_batch()

    def _draw_in_few_steps(self) -> None:
        generation = self._recipe.generation
        steps = min(WARM_UP_STEPS, generation.num_inference_steps)
        family = family_of(self._generator.pipelines, generation.model_copy(update={"num_inference_steps": steps}))
        batch = self._batch()

        @torch.no_grad()
        def decode(latents: Any) -> None:
            family.decode(latents)

        with torch.no_grad(), quiet_models(), ThreadPoolExecutor(1) as decoder:
            noise = [torch.Generator().manual_seed(one.seed) for one in batch]
            decoder.submit(decode, family.denoise([one.text for one in batch], noise)).result()

    def _batch(self) -> list[Try]:
        tried = tries(self._recipe, planned_images(self._recipe, self._storage, self._shards[PARTED]).missing)
        return self._batches.padded(tried[: self._batches.size])

    def _parts_of_a_batch(self) -> dict[str, float]:
        """Seconds per image of each part, one after the other; the files go into a table that nothing reads."""
        generator, batch = self._generator, self._batch()
        clock = Clock(self._setting.device)
        with ExitStack() as stack:
            for pipeline in generator.pipelines:
                stack.enter_context(clock.watched(pipeline, "encode_prompt", "text"))
            with clock.part("denoise"):
                latents = generator.denoise([one.text for one in batch], [one.seed for one in batch])
            with clock.part("decode"):
                drawn = generator.decode(latents)
            with clock.part("encode and write"):
                usable = [
                    (one, found.image) for one, found in zip(batch, drawn, strict=True) if found.image is not None
                ]
                encoded = [encode_image(Image.fromarray(image), self._recipe.generation) for _, image in usable]
                rows = image_rows(self._recipe, [one for one, _ in usable], encoded, [None] * len(usable))
                write_chunk(self._storage, "parts", rows)
        return clock.per_image(len(batch))

    def measure(self, number: int) -> Measurement:
        """Draw the shard of that round."""
        generator = self._generator
        with unet_evaluations(generator.pipelines) as counts:
            began = _begin(self._setting.device)
            summary = generate_shard(
                self._recipe, self._storage, self._shards[number], generator, batches=self._batches
            )
            seconds = time.perf_counter() - began
        return Measurement(
            self._images,
            seconds,
            self._parts,
            sum(counts) / self._images,
            _teraflop(generator.pipelines, counts, self._setting.size) / self._images,
            self._memory.peak(summary.peak_memory),
            summary.failures.total(),
            self._batches.size,
            load_seconds=self._load_seconds,
            first_seconds=self._first_seconds,
        )

    def idle(self) -> float:
        """Share of the time in which the device does nothing, over one more shard."""
        with idle_share(self._setting.device) as shares:
            generate_shard(self._recipe, self._storage, self._shards[PROFILED], self._generator, batches=self._batches)
        return shares[0]


class Memory:
    """What of the device's memory is a loop's own, while the models of others are there too."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._own = 0

    def is_loaded(self, pipelines: Sequence[Any]) -> None:
        """Say which models are the loop's own."""
        modules = [part for pipeline in pipelines for part in pipeline.components.values()]
        weights = {
            weight.data_ptr(): weight.nbytes
            for module in modules
            if isinstance(module, torch.nn.Module)
            for weight in module.parameters()
        }
        self._own = sum(weights.values())

    def peak(self, measured: int | None) -> int | None:
        """Of a peak of all memory, in bytes, the loop's share: called while nothing but models is on the device."""
        if measured is None:
            return None
        return measured - (torch.cuda.memory_allocated(self._device) - self._own)


class Clock:
    """Seconds by part, each waited for on the device; a part within another is taken off the outer one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inner: list[float] = []
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done in here as that part."""
        began = self._now()
        self._inner.append(0.0)
        yield
        seconds = self._now() - began
        self.seconds[name] += seconds - self._inner.pop()
        if self._inner:
            self._inner[-1] += seconds

    @contextmanager
    def watched(self, owner: Any, method: str, part: str) -> Iterator[None]:
        """Count calls of an object's method as that part."""
        original = getattr(owner, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(part):
                return original(*arguments, **named)

        with _replaced(owner, method, timed):
            yield

    def per_image(self, images: int) -> dict[str, float]:
        """Seconds of each part divided by the number of images."""
        return {part: self.seconds[part] / images for part in PARTS}

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


@contextmanager
def idle_share(device: torch.device) -> Iterator[list[float]]:
    """Afterwards, in a list of one number: the share of the time in here in which the device does nothing."""
    from torch._C._profiler import _ExperimentalConfig
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    cuda = device.type == "cuda"
    shares: list[float] = []
    with profile(
        activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU],
        experimental_config=_ExperimentalConfig(profile_all_threads=not cuda),
    ) as profiler:
        began = _begin(device)
        yield shares
        if cuda:
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    # Not as `profiler.events()`, which makes a Python object of each of a million kernels.
    spans = [
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in profiler.profiler.kineto_results.events()
        if event.device_type() == (DeviceType.CUDA if cuda else DeviceType.CPU)
    ]
    shares.append(1 - covered(spans) / 1e9 / seconds)


def covered(spans: Sequence[tuple[int, int]]) -> int:
    """Length of the union of intervals, each from a begin to an end."""
    length, reached = 0, min(begin for begin, _ in spans)
    for begin, end in sorted(spans):
        length += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return length


@contextmanager
def unet_evaluations(pipelines: Sequence[Any]) -> Iterator[list[int]]:
    """Count images that go through the UNet of each pipeline; at the scheduler, since the UNet may be compiled."""
    counts = [0] * len(pipelines)
    with ExitStack() as stack:
        for number, pipeline in enumerate(pipelines):
            original = pipeline.scheduler.scale_model_input

            def counted(sample: torch.Tensor, *arguments: Any, number: int = number, original: Any = original) -> Any:
                counts[number] += len(sample)
                return original(sample, *arguments)

            stack.enter_context(_replaced(pipeline.scheduler, "scale_model_input", counted))
        yield counts


def unet_teraflop(pipeline: Any, size: int) -> float:
    """Arithmetic of one evaluation of a pipeline's UNet, in 10^12 floating-point operations."""
    return teraflop_of(
        dict(pipeline.unet.config),
        size // pipeline.vae_scale_factor,
        pipeline.tokenizer_2.model_max_length,
        pipeline.text_encoder_2.config.projection_dim,
    )


def teraflop_of(configuration: dict[str, Any], latent_size: int, context_length: int, pooled_width: int) -> float:
    """Arithmetic of one evaluation of a UNet of SDXL's kind, in 10^12 floating-point operations.

    Args:
        configuration: of the UNet2DConditionModel.
        latent_size: width and height of its input.
        context_length: tokens of a text.
        pooled_width: of a text's pooled embedding.
    """
    return _teraflop_of_unet(json.dumps(configuration), latent_size, context_length, pooled_width)


@cache
def _teraflop_of_unet(configuration: str, latent_size: int, context_length: int, pooled_width: int) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():
        unet = diffusers.UNet2DConditionModel.from_config(json.loads(configuration)).eval()
        config = unet.config
        ids = (config.projection_class_embeddings_input_dim - pooled_width) // config.addition_time_embed_dim
        with FlopCounterMode(display=False) as counter:
            unet(
                torch.empty(1, config.in_channels, latent_size, latent_size),
                torch.empty(()),
                torch.empty(1, context_length, config.cross_attention_dim),
                added_cond_kwargs={"text_embeds": torch.empty(1, pooled_width), "time_ids": torch.empty(1, ids)},
            )
    return counter.get_total_flops() / 1e12


def matmul_peak(device: torch.device, dtype_on_cpu: torch.dtype) -> float:
    """Best rate of a product of square matrices of random numbers, in 10^12 floating-point operations per second.

    bfloat16 and 8192 wide on a GPU, 1024 wide on a CPU.
    """
    size, dtype = (1024, dtype_on_cpu) if device.type == "cpu" else (8192, torch.bfloat16)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    clock = Clock(device)
    best = float("inf")
    for _ in range(10):
        clock.seconds.clear()
        with clock.part("product"):
            for _ in range(5):
                left @ right
        best = min(best, clock.seconds["product"] / 5)
    return 2 * size**3 / best / 1e12


@contextmanager
def _replaced(owner: Any, name: str, value: Callable[..., Any]) -> Iterator[None]:
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if gpu else "cpu", help="torch device")
    parser.add_argument("--model", default="demo", help="demo, random-sdxl or a folder")
    parser.add_argument("--models-folder", type=Path, default=Path("build/random-sdxl"), help="of random-sdxl")
    parser.add_argument("--images", type=int, default=64, help="images of each loop")
    parser.add_argument("--one-at-a-time-images", type=int, help="fewer for the one-at-a-time loops")
    parser.add_argument("--fast-images", type=int, help="more for paper-fast and few-steps")
    parser.add_argument("--steps", type=int, help="of the paper's loops; default: 60, or those of the demo's recipe")
    parser.add_argument("--size", type=int, help="width and height in pixels; default: 1024, or the demo's")
    parser.add_argument("--repeats", type=int, default=2, help="rounds; every second one in reverse order")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS, metavar="LOOP", help=", ".join(LOOPS))
    parser.add_argument(
        "--generation", type=yaml.safe_load, default={}, help="YAML laid over every preset, e.g. '{batch_size: 16}'"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no measurement begins")
    parser.add_argument("--json", type=Path, help="file that gets every round's figures")
    return parser.parse_args()


def _setting_dtype(options: argparse.Namespace) -> torch.dtype:
    """Of products on a CPU."""
    return getattr(torch, options.generation.get("dtype", "float32"))


def _setting(options: argparse.Namespace, device: torch.device) -> Setting:
    if options.model == "demo":
        demo = load_recipe("demo").generation
        base = Path(demo.model)
        steps, size, guidance = demo.num_inference_steps, demo.width, demo.guidance_scale
        settings = {"batch_size": demo.batch_size}
        refiner = vae = None
    else:
        folder = options.models_folder if options.model == "random-sdxl" else Path(options.model)
        folder = folder.resolve()
        if options.model == "random-sdxl":
            save_random_sdxl(folder, options.device)
            _release()
        base, refiner, vae = (folder / name for name in ("base", "refiner", "vae"))
        # Images are stored under the digest of their models, 14 GB: read while the first loop loads them.
        threading.Thread(target=lambda: [model_identity(str(each), None) for each in (base, refiner, vae)]).start()
        steps, size, guidance = PAPER_STEPS, PAPER_SIZE, PAPER_GUIDANCE
        settings = {}
    if device.type == "cpu":
        settings |= {"dtype": "float32", "compile": False}
    return Setting(
        base,
        refiner if refiner and refiner.exists() else None,
        vae if vae and vae.exists() else None,
        device,
        options.size or size,
        options.steps or steps,
        guidance,
        settings | options.generation,
    )


def _recipe(setting: Setting, preset: str, images: int, folder: Path, shards: int) -> Recipe:
    folder.mkdir()
    text = _recipe_text({"preset": preset, "model": str(setting.base)}, folder, shards)
    fragment = parse_recipe(text, folder).generation
    paper = preset == "paper"
    generation: dict[str, Any] = {
        "preset": preset,
        "model": str(setting.base),
        "variant": None,
        "vae": {"model": str(setting.vae)} if fragment.vae and setting.vae else None,
        "refiner": {"model": str(setting.refiner)} if fragment.refiner and setting.refiner else None,
        "width": setting.size,
        "height": setting.size,
        "num_inference_steps": max(1, round(fragment.num_inference_steps * setting.steps / PAPER_STEPS)),
        "guidance_scale": setting.guidance if paper else fragment.guidance_scale,
        "device": str(setting.device),
        # Four chunks, as if the shard were a long one: they are written while the next images are drawn.
        "images_per_chunk": max(1, images // 4),
        # A picture of random weights may be flat: it is not drawn again.
        "retries": 0,
        **setting.generation,
    }
    return parse_recipe(_recipe_text(generation, folder, shards), folder)


def _recipe_text(generation: dict[str, Any], folder: Path, shards: int) -> str:
    return yaml.safe_dump(
        {
            "name": "benchmark",
            "storage": str(folder),
            "sources": [{"name": "none", "path": "none.txt"}],
            "shards": shards,
            "generation": generation,
            "selection": {"share": 0.5},
        }
    )


def _captions(count: int) -> list[str]:
    """The demo's captions, again and again if there are not enough."""
    found = [text for part in read_captions(load_recipe("demo").sources) for text in part["text"].drop_nulls()]
    return list(itertools.islice(itertools.cycle(found), count))


def _plan(texts: Sequence[str], shard: str) -> pl.DataFrame:
    ids = [f"{int(shard):08x}{number:08x}" for number in range(len(texts))]
    captions = pl.DataFrame({"caption_id": ids, "text": texts, "shard": shard})
    return plan_attempts(captions, Attempts(), seed=0)


def _teraflop(pipelines: Sequence[Any], counts: Sequence[int], size: int) -> float:
    return sum(count * unet_teraflop(pipeline, size) for pipeline, count in zip(pipelines, counts, strict=True))


def _begin(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    return time.perf_counter()


def _peak_bytes(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _release() -> None:
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _median(measurements: list[Measurement]) -> Measurement:
    first = measurements[0]
    peaks = [one.peak_bytes for one in measurements if one.peak_bytes is not None]
    return Measurement(
        first.images,
        statistics.median(one.seconds for one in measurements),
        {part: statistics.median(one.parts[part] for one in measurements) for part in PARTS},
        first.evaluations,
        first.teraflop,
        max(peaks, default=None),
        max(one.unusable for one in measurements),
        min(one.batch_size for one in measurements),
        first.idle,
        first.load_seconds,
        first.first_seconds,
    )


def _report(
    setting: Setting, medians: dict[str, Measurement], rounds: dict[str, list[Measurement]], peak: float
) -> None:
    def slowest_and_fastest(loop: str) -> str:
        rates = [one.images / one.seconds for one in rounds[loop]]
        return f"{min(rates):.2f}-{max(rates):.2f}"

    def rate(loop: str) -> float | None:
        measured = medians.get(loop)
        return measured.images / measured.seconds if measured else None

    def ratio(loop: str, to: str) -> str:
        ours, theirs = rate(loop), rate(to)
        return f"{ours / theirs:.2f}" if ours and theirs else "-"

    def denoising_rate(one: Measurement) -> float:
        return one.teraflop / one.parts["denoise"]

    rows: list[tuple[str, Callable[[str, Measurement], str]]] = [
        ("images", lambda _, one: f"{one.images}"),
        ("images at once", lambda _, one: f"{one.batch_size}"),
        ("seconds", lambda _, one: f"{one.seconds:.2f}"),
        ("images/s", lambda loop, _: f"{rate(loop):.3f}"),
        ("  slowest-fastest round", lambda loop, _: slowest_and_fastest(loop)),
        ("times official", lambda loop, _: ratio(loop, "official")),
        ("times handover", lambda loop, _: ratio(loop, "handover")),
        ("UNet evaluations per image", lambda _, one: f"{one.evaluations:.1f}"),
        *((f"{part}, s per image", lambda _, one, part=part: f"{one.parts[part]:.4f}") for part in PARTS),
        ("sum of parts, s per image", lambda _, one: f"{sum(one.parts.values()):.4f}"),
        ("seconds per image in the run", lambda _, one: f"{one.seconds / one.images:.4f}"),
        ("denoising, TFLOP/s", lambda _, one: f"{denoising_rate(one):.3f}"),
        ("  of the matmul peak", lambda _, one: f"{denoising_rate(one) / peak:.1%}"),
        ("device idle", lambda _, one: "-" if one.idle is None else f"{one.idle:.1%}"),
        ("peak device memory, GB", lambda _, one: f"{one.peak_bytes / 1e9:.1f}" if one.peak_bytes else "-"),
        ("loading, s", lambda _, one: f"{one.load_seconds:.1f}"),
        ("first batch, s", lambda _, one: f"{one.first_seconds:.1f}"),
        ("unusable pictures", lambda _, one: f"{one.unusable}"),
    ]
    cuda = setting.device.type == "cuda"
    name = torch.cuda.get_device_name(setting.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    load = "" if cuda else f", load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(
        f"\n{name}{load}; torch {torch.__version__}, diffusers {diffusers.__version__}\n"
        f"{setting.base.name}{' + refiner' if setting.refiner else ''}, {setting.size} x {setting.size} pixels, "
        f"{setting.steps} steps, guidance {setting.guidance:g}; matmul peak {peak:.3g} TFLOP/s; "
        f"median of {max(map(len, rounds.values()))} rounds\n"
    )
    print(f"{'':30}" + "".join(f"{loop:>14}" for loop in medians))
    for label, value in rows:
        print(f"{label:30}" + "".join(f"{value(loop, one):>14}" for loop, one in medians.items()))


if __name__ == "__main__":
    main()
