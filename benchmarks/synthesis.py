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

Seconds of images/s are wall-clock time after loading and a first batch. Parts are seconds per image, each part waited
for: of the one-at-a-time loops in the measured run, of this package in one batch drawn part by part beforehand, because
in the run itself they overlap. A UNet evaluation is one image's prediction at one step; guidance makes two of a step.
Each round measures all loops, every second round in reverse order; figures are medians over rounds. The device's idle
time is the share of a shard's time in which it neither computes nor copies. It is measured once, in one more shard of
as many images (of the one-at-a-time loops: in four images more) under torch's profiler, which slows the host a little.
On a CPU it is the share in which torch computes nothing.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import polars as pl
import torch
import yaml
from PIL import Image
from random_sdxl import save_random_sdxl

from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.chunks import write_chunk
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.plan import PLAN_TABLE, plan_attempts
from synthvlm_dagster.images.present import planned_images
from synthvlm_dagster.images.shard import generate_shard
from synthvlm_dagster.images.table import encode_image, image_rows, tries
from synthvlm_dagster.quiet import quiet_models
from synthvlm_dagster.recipe import Attempts, Recipe, load_recipe
from synthvlm_dagster.recipe.loading import parse_recipe
from synthvlm_dagster.storage import Storage

ONE_AT_A_TIME = ("official", "handover")
PRESETS = {"paper": "paper", "paper-fast": "paper-fast", "few-steps": "turbo"}
LOOPS = (*ONE_AT_A_TIME, *PRESETS)
PARTS = ("text", "denoise", "decode", "encode and write")
HANDOVER = 0.8
PAPER_STEPS, PAPER_GUIDANCE, PAPER_SIZE = 60, 20.0, 1024
WARM_UP, MEASURED, PROFILED = "0000", "0001", "0002"
"""Shards."""
PROFILED_ONE_AT_A_TIME = 4
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


def main() -> None:
    """Measure the loops, print how they compare."""
    options = _options()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        setting = _setting(options, device)
        loops = [loop for loop in options.loops if loop != "handover" or setting.refiner]
        texts = _captions(options.images)
        rounds: dict[str, list[Measurement]] = {loop: [] for loop in loops}
        for number in range(options.repeats):
            for loop in loops if number % 2 == 0 else reversed(loops):
                print(f"round {number + 1} of {options.repeats}: {loop} …", flush=True)
                work, profiled = Path(folder) / f"{loop}-{number}", number == 0
                if loop in ONE_AT_A_TIME:
                    count = options.one_at_a_time_images or options.images
                    measured = measure_one_at_a_time(setting, texts[:count], loop == "handover", work, profiled)
                else:
                    measured = measure_package(setting, PRESETS[loop], texts, work, profiled)
                rounds[loop].append(measured)
                _release()
    medians = {loop: _median(measurements) for loop, measurements in rounds.items()}
    peak = matmul_peak(device, setting.dtype)
    _report(setting, medians, rounds, peak)
    if options.json:
        found = {loop: [asdict(one) for one in measurements] for loop, measurements in rounds.items()}
        options.json.write_text(json.dumps({"matmul_peak": peak, "rounds": found}, indent=2), encoding="utf-8")


def measure_one_at_a_time(
    setting: Setting, texts: Sequence[str], documented: bool, folder: Path, profiled: bool
) -> Measurement:
    """The official loop: one prompt, one image, one file, then the next.

    Args:
        setting: models and steps.
        texts: the prompts.
        documented: hand over to the refiner as diffusers documents it, rather than as the official loop does.
        folder: gets the files.
        profiled: measure the idle time too.
    """
    folder.mkdir()
    with quiet_models():
        pipelines = [
            diffusers.DiffusionPipeline.from_pretrained(model, dtype=setting.dtype, use_safetensors=True)
            for model in (setting.base, setting.refiner)
            if model
        ]
    for pipeline in pipelines:
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(setting.device)
    common = {
        "negative_prompt": "",
        "num_inference_steps": setting.steps,
        "guidance_scale": setting.guidance,
        "height": setting.size,
        "width": setting.size,
    }
    clock = Clock(setting.device)

    def draw(text: str) -> Image.Image:
        with clock.part("denoise"):
            if not setting.refiner:
                return pipelines[0](prompt=text, **common).images[0]
            base, refiner = pipelines
            latents = base(prompt=text, denoising_end=HANDOVER, output_type="latent", **common).images
            share = {"denoising_start": HANDOVER} if documented else {"denoising_end": HANDOVER}
            # The official loop passes height and width here too; this pipeline takes the size from the latents.
            settings = {name: value for name, value in common.items() if name not in ("height", "width")}
            return refiner(prompt=text, image=latents, **share, **settings).images[0]

    with quiet_models():
        draw(texts[0])
        clock.seconds.clear()
        with ExitStack() as stack:
            for pipeline in pipelines:
                stack.enter_context(clock.watched(pipeline, "encode_prompt", "text"))
                stack.enter_context(clock.watched(pipeline, "upcast_vae", "decode"))
                stack.enter_context(clock.watched(pipeline.vae, "decode", "decode"))
                stack.enter_context(clock.watched(pipeline.vae, "to", "decode"))
                stack.enter_context(clock.watched(pipeline.image_processor, "postprocess", "decode"))
            counts = stack.enter_context(unet_evaluations(pipelines))
            began = _begin(setting.device)
            for number, text in enumerate(texts):
                image = draw(text)
                with clock.part("encode and write"):
                    image.save(folder / f"{number:09d}.jpg")
            seconds = time.perf_counter() - began
        peak_bytes, idle = _peak_bytes(setting.device), None
        if profiled:
            with idle_share(setting.device) as shares:
                for number, text in enumerate(texts[:PROFILED_ONE_AT_A_TIME]):
                    draw(text).save(folder / f"profiled-{number}.jpg")
            [idle] = shares
    return Measurement(
        len(texts),
        seconds,
        clock.per_image(len(texts)),
        sum(counts) / len(texts),
        _teraflop(pipelines, counts, setting.size) / len(texts),
        peak_bytes,
        idle=idle,
    )


def measure_package(setting: Setting, preset: str, texts: Sequence[str], folder: Path, profiled: bool) -> Measurement:
    """One shard through `generate_shard`, after a first batch that is a shard of its own.

    Args:
        setting: models and steps.
        preset: of the recipe.
        texts: the captions of the shard.
        folder: gets the store.
        profiled: measure the idle time too.
    """
    recipe = _recipe(setting, preset, len(texts), folder)
    storage = Storage(recipe.storage)
    first = list(itertools.islice(itertools.cycle(texts), recipe.generation.batch_size))
    shards = {WARM_UP: first, MEASURED: texts, PROFILED: texts}
    storage.write_table(PLAN_TABLE, pl.concat([_plan(captions, shard) for shard, captions in shards.items()]))
    generator = DiffusersGenerator(recipe.generation)
    batches = Batches(recipe.generation)
    generate_shard(recipe, storage, WARM_UP, generator, batches=batches)
    parts = _parts_of_a_batch(recipe, storage, generator, batches.size, setting.device)
    with unet_evaluations(generator.pipelines) as counts:
        began = _begin(setting.device)
        summary = generate_shard(recipe, storage, MEASURED, generator, batches=batches)
        seconds = time.perf_counter() - began
    idle = None
    if profiled:
        with idle_share(setting.device) as shares:
            generate_shard(recipe, storage, PROFILED, generator, batches=batches)
        [idle] = shares
    return Measurement(
        len(texts),
        seconds,
        parts,
        sum(counts) / len(texts),
        _teraflop(generator.pipelines, counts, setting.size) / len(texts),
        summary.peak_memory,
        summary.failures.total(),
        batches.size,
        idle,
    )


def _parts_of_a_batch(
    recipe: Recipe, storage: Storage, generator: DiffusersGenerator, size: int, device: torch.device
) -> dict[str, float]:
    """Seconds per image of each part, one part after the other; the files go into a table that nothing reads."""
    batch = tries(recipe, planned_images(recipe, storage, MEASURED).missing)[:size]
    clock = Clock(device)
    with ExitStack() as stack:
        for pipeline in generator.pipelines:
            stack.enter_context(clock.watched(pipeline, "encode_prompt", "text"))
        with clock.part("denoise"):
            latents = generator.denoise([one.text for one in batch], [one.seed for one in batch])
        with clock.part("decode"):
            drawn = generator.decode(latents)
        with clock.part("encode and write"):
            usable = [(one, found.image) for one, found in zip(batch, drawn, strict=True) if found.image is not None]
            encoded = [encode_image(Image.fromarray(image), recipe.generation) for _, image in usable]
            rows = image_rows(recipe, [one for one, _ in usable], encoded, [None] * len(usable))
            write_chunk(storage, "parts", rows)
    return clock.per_image(len(batch))


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
    return _teraflop_of_unet(
        json.dumps(dict(pipeline.unet.config)),
        size // pipeline.vae_scale_factor,
        pipeline.tokenizer_2.model_max_length,
        pipeline.text_encoder_2.config.projection_dim,
    )


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
    parser.add_argument("--steps", type=int, help="of the paper's loops; default: 60, or those of the demo's recipe")
    parser.add_argument("--size", type=int, help="width and height in pixels; default: 1024, or the demo's")
    parser.add_argument("--repeats", type=int, default=2, help="rounds; every second one in reverse order")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS, metavar="LOOP", help=", ".join(LOOPS))
    parser.add_argument(
        "--generation", type=yaml.safe_load, default={}, help="YAML laid over every preset, e.g. '{batch_size: 16}'"
    )
    parser.add_argument("--json", type=Path, help="file that gets every round's figures")
    return parser.parse_args()


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


def _recipe(setting: Setting, preset: str, images: int, folder: Path) -> Recipe:
    fragment = parse_recipe(_recipe_text({"preset": preset, "model": str(setting.base)}, folder), folder).generation
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
    return parse_recipe(_recipe_text(generation, folder), folder)


def _recipe_text(generation: dict[str, Any], folder: Path) -> str:
    return yaml.safe_dump(
        {
            "name": "benchmark",
            "storage": str(folder),
            "sources": [{"name": "none", "path": "none.txt"}],
            "shards": 3,
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
