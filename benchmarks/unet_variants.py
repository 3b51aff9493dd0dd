"""How fast the two costly parts of SDXL are in several settings: what speeds up the UNet and the autoencoder, and why.

    python benchmarks/unet_variants.py --device cuda --json variants.json
    python benchmarks/unet_variants.py --model demo --device cpu --repeats 2       # in little

Each variant has a process of its own. All load and compile side by side, then they take turns on the device. Weights
are random and in float16 (float32 on a CPU), of random_sdxl.py or of the demo's models. UNets:
    eager             as diffusers loads it
    blocks            as `speed_up` of this package makes it: channels-last, torch.compile of the repeated blocks
    blocks fused      the same, after fuse_qkv
    whole             channels-last, torch.compile of the whole UNet
    max-autotune      the same as whole, in torch's mode max-autotune-no-cudagraphs
    fp8               the same as blocks, with torchao's Float8DynamicActivationFloat8WeightConfig on linear layers
Autoencoders, decoding: `vae float32` as SDXL's own is in this package, `vae`, `vae channels-last`, `vae blocks` and
`vae float32 blocks` as `speed_up` makes them, `vae whole` with a decoder that is compiled whole.

A UNet variant is timed with `--batch` evaluations at once, a decoding with an eighth as many. Times are medians over
`--repeats` calls, by the device's own events. `difference` is that of the output from the eager variant's with the
same weights and inputs, as a share of its norm. Kernels are the largest ones by torch's profiler, of one call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from filelock import FileLock
from random_sdxl import BASE_UNET, VAE
from synthesis import matmul_peak, teraflop_of

from synthvlm_dagster.images.generators.speed import compile_unet_blocks

UNETS = ("eager", "blocks", "blocks fused", "whole", "max-autotune", "fp8")
VAES = ("vae float32", "vae", "vae channels-last", "vae blocks", "vae float32 blocks", "vae whole")
KERNELS = 24


def main() -> None:
    """Measure the variants, or one of them as the child of another process."""
    options = _options()
    if options.child:
        options.child.write_text(json.dumps(_measure(options), indent=2), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = {variant: _start(variant, options, folder) for variant in options.variants}
        began = time.monotonic()
        while time.monotonic() - began < options.patience and any(
            process.poll() is None and not _ready(folder, variant).exists() for variant, process in processes.items()
        ):
            time.sleep(0.2)
        while options.begin_when and not options.begin_when.exists() and time.monotonic() - began < options.limit:
            time.sleep(0.2)
        (folder / "go").touch()
        found: dict[str, Any] = {}
        for variant, process in processes.items():
            try:
                process.wait(max(1.0, options.limit - (time.monotonic() - began)))
            except subprocess.TimeoutExpired:
                process.kill()
            figures, log = folder / f"{variant}.json", folder / f"{variant}.log"
            found[variant] = (
                json.loads(figures.read_text(encoding="utf-8"))
                if figures.exists()
                else {"failed": log.read_text(encoding="utf-8", errors="replace")[-1500:]}
            )
    device = torch.device(options.device)
    peak = matmul_peak(device, torch.float32)
    _report(found, peak)
    if options.json:
        options.json.write_text(json.dumps({"matmul_peak": peak, "variants": found}, indent=2), encoding="utf-8")


def _start(variant: str, options: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, __file__, "--variants", variant, "--child", folder / f"{variant}.json"]
    for name in ("model", "device", "batch", "size", "repeats"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name}", value]
    with (folder / f"{variant}.log").open("wb") as log:
        return subprocess.Popen([str(argument) for argument in arguments], stdout=log, stderr=log)


def _ready(folder: Path, variant: str) -> Path:
    return folder / f"{variant}.ready"


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Load one variant, call it once, wait for the others, time it."""
    [variant] = options.variants
    device = torch.device(options.device)
    folder = options.child.parent
    torch.manual_seed(0)
    began = time.perf_counter()
    with torch.no_grad():
        call, teraflop, images = (_vae if variant in VAES else _unet)(variant, options, device)
        loaded = time.perf_counter()
        call()
        _wait(device)
        first = time.perf_counter() - loaded
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _ready(folder, variant).touch()
        while not (folder / "go").exists():
            time.sleep(0.1)
        with FileLock(folder / "turn"):
            call()
            seconds = [_seconds(call, device) for _ in range(options.repeats)]
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
            kernels = _kernels(call, device)
        output = call().float().cpu()
        reference = folder / f"{'vae' if variant in VAES else 'unet'}.pt"
        if variant in ("eager", "vae float32"):
            torch.save(output, reference)
        difference = None
        if _wait_for(reference):
            expected = torch.load(reference)
            difference = float((output - expected).norm() / expected.norm())
    return {
        "batch": images,
        "seconds": statistics.median(seconds),
        "spread": [min(seconds), max(seconds)],
        "teraflop": teraflop,
        "load_seconds": loaded - began,
        "first_call_seconds": first,
        "peak_bytes": peak,
        "difference": difference,
        "kernels": kernels,
    }


def _unet(variant: str, options: argparse.Namespace, device: torch.device) -> tuple[Callable[[], Any], float, int]:
    unet = _made(diffusers.UNet2DConditionModel, BASE_UNET, options, device, "unet")
    config = unet.config
    size = options.size // 8 if options.size else config.sample_size
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    draw = torch.Generator("cpu").manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).to(device, unet.dtype)

    inputs = {
        "sample": random(options.batch, config.in_channels, size, size),
        "timestep": torch.tensor(500.0, device=device),
        "encoder_hidden_states": random(options.batch, 77, config.cross_attention_dim),
        "added_cond_kwargs": {"text_embeds": random(options.batch, pooled), "time_ids": random(options.batch, 6)},
    }
    if variant == "blocks fused":
        unet.fuse_qkv_projections()
    if variant == "fp8":
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

        # Its kernels give bfloat16 alone.
        unet.to(torch.bfloat16)
        inputs = {name: value.bfloat16() if torch.is_tensor(value) else value for name, value in inputs.items()}
        inputs["added_cond_kwargs"] = {name: value.bfloat16() for name, value in inputs["added_cond_kwargs"].items()}
        quantize_(
            unet,
            Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()),
            lambda module, _: isinstance(module, torch.nn.Linear) and min(module.weight.shape) >= 512,
        )
    if variant in ("blocks", "blocks fused", "fp8"):
        torch._dynamo.config.recompile_limit = 256
        compile_unet_blocks(unet)
    elif variant != "eager":
        unet.to(memory_format=torch.channels_last)
        unet.compile(dynamic=False, mode="max-autotune-no-cudagraphs" if variant == "max-autotune" else None)
    call = partial(unet, **inputs, return_dict=False)
    return lambda: call()[0], options.batch * teraflop_of(dict(config), size, 77, pooled), options.batch


def _vae(variant: str, options: argparse.Namespace, device: torch.device) -> tuple[Callable[[], Any], float, int]:
    from torch.utils.flop_counter import FlopCounterMode

    vae = _made(diffusers.AutoencoderKL, VAE, options, device, "vae")
    if variant.startswith("vae float32"):
        vae.float()
    if variant in ("vae channels-last", "vae whole"):
        vae.to(memory_format=torch.channels_last)
    if variant == "vae whole":
        vae.decoder.compile(dynamic=False)
    if variant.endswith("blocks"):
        torch._dynamo.config.recompile_limit = 256
        compile_unet_blocks(vae.decoder)
    size = (options.size // 8) if options.size else (128 if options.model == "random-sdxl" else 8)
    count = max(1, options.batch // 8)
    latents = torch.randn(count, vae.config.latent_channels, size, size, generator=torch.Generator().manual_seed(1))
    latents = latents.to(device, vae.dtype)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        meta = diffusers.AutoencoderKL.from_config(vae.config).eval()
        meta.decode(torch.empty(1, *latents.shape[1:]))
    return lambda: vae.decode(latents, return_dict=False)[0], count * counter.get_total_flops() / 1e12, count


def _made(
    model_class: Any, config: dict[str, Any], options: argparse.Namespace, device: torch.device, part: str
) -> Any:
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    if options.model == "demo":
        import synthvlm_dagster.demo

        folder = Path(synthvlm_dagster.demo.__file__).parent / "models" / "shapes-sdxl"
        return model_class.from_pretrained(str(folder), subfolder=part).to(device, dtype).eval()
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return model_class(**config).eval()
    finally:
        torch.set_default_dtype(before)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _wait_for(file: Path, patience: float = 20.0) -> bool:
    began = time.monotonic()
    while not file.exists() and time.monotonic() - began < patience:
        time.sleep(0.2)
    time.sleep(0.5)
    return file.exists()


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def _kernels(call: Callable[[], Any], device: torch.device) -> list[tuple[str, int, float]]:
    """Name, number of calls, and milliseconds of the kernels that take longest."""
    from torch.profiler import ProfilerActivity, profile

    if device.type != "cuda":
        return []
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call()
        _wait(device)
    took: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profiler.profiler.kineto_results.events():
        took[event.name()] += event.duration_ns()
        calls[event.name()] += 1
    total = [("all", calls.total(), took.total() / 1e6)]
    return total + [(name[:160], calls[name], nanoseconds / 1e6) for name, nanoseconds in took.most_common(KERNELS)]


def _report(found: dict[str, Any], peak: float) -> None:
    print(f"matmul peak {peak:.3g} TFLOP/s")
    print(
        f"{'':20}{'at once':>8}{'s per image':>13}{'TFLOP/s':>9}{'of peak':>9}{'first call, s':>15}{'difference':>12}"
    )
    for variant, one in found.items():
        if "failed" in one:
            lines = one["failed"].strip().splitlines()
            print(f"{variant:20} failed: {lines[-1] if lines else 'in time'}")
            continue
        rate = one["teraflop"] / one["seconds"]
        difference = "-" if one["difference"] is None else f"{one['difference']:.1e}"
        print(
            f"{variant:20}{one['batch']:8}{one['seconds'] / one['batch']:13.5f}{rate:9.1f}{rate / peak:9.1%}"
            f"{one['first_call_seconds']:15.1f}{difference:>12}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = (*UNETS, *VAES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device")
    parser.add_argument("--model", default="random-sdxl", choices=["random-sdxl", "demo"])
    parser.add_argument("--variants", nargs="+", choices=every, default=every, metavar="VARIANT", help=", ".join(every))
    parser.add_argument("--batch", type=int, default=16, help="evaluations of the UNet at once")
    parser.add_argument("--size", type=int, help="width and height in pixels; default: the model's own")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--patience", type=float, default=120, help="seconds that the variants may take to get ready")
    parser.add_argument("--begin-when", type=Path, help="file without which none is timed: the device has other work")
    parser.add_argument("--limit", type=float, default=180, help="seconds after which the variants are given up")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
