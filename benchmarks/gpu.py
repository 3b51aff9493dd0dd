"""Every measurement that needs a GPU, in one command of under ten minutes that can be repeated until all are there.

    python benchmarks/gpu.py build/gpu                                   # SDXL with random weights, on a GPU
    python benchmarks/gpu.py build/gpu-demo --device cpu --model demo    # in little, with the demo's models

Each stage is a process with a limit of its own, and writes FOLDER/STAGE.json and FOLDER/STAGE.txt. A stage whose JSON
is there is not run again, so that a second call goes on where the first had no time left: delete what is to be measured
anew. Stages:
    scoring           scoring.py: CLIPScore with ViT-B-32 and ViT-L-14, SSIM
    reproducibility   reproducibility.py: the same bytes in two processes, other batch sizes
    synthesis         synthesis.py: the official loop, the documented hand-over, this package's presets
    restart           paper-fast alone in a new process, whose compiled graphs are in the cache of the stage before
    variants          unet_variants.py: eager, compiled by blocks, and as a whole
docs/performance.md says what they gave.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SETTLE = 5.0
"""Seconds that a stage gets to stop after the time that it was told."""


def main() -> None:
    """Run what has not been measured, as long as there is time."""
    options = _options()
    began = time.monotonic()
    options.folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(options.folder.resolve() / "compiled")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    missing = []
    for name, command, limit in stages(options):
        figures, unfinished = options.folder / f"{name}.json", options.folder / f"{name}.unfinished.json"
        if figures.exists():
            print(f"{name}: measured before")
            continue
        seconds = min(limit, options.minutes * 60 - (time.monotonic() - began))
        if seconds < SETTLE:
            missing.append(name)
            continue
        print(f"{name}: at most {seconds:.0f} s ...", flush=True)
        with (options.folder / f"{name}.txt").open("w") as log:
            try:
                done = subprocess.run(
                    [sys.executable, HERE / command[0], *command[1:], "--json", unfinished.resolve()],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    timeout=seconds,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                done = None
        if done == 0:
            unfinished.rename(figures)
        else:
            missing.append(name)
            why = "no time was left" if done is None else f"failed with {done}"
            print(f"{name}: {why}; see {options.folder / name}.txt, and what it measured so far in {unfinished}")
    if missing:
        sys.exit(f"still to be measured: {', '.join(missing)}. Run the same command again")


def stages(options: argparse.Namespace) -> list[tuple[str, list[str], float]]:
    """Name, script with its arguments, and most seconds of each stage; those that matter first."""
    device = ["--device", options.device]
    models = ["--model", options.model]
    little = options.model == "demo"
    if options.model == "random-sdxl":
        models += ["--models-folder", str(options.models_folder or options.folder.resolve() / "models")]
    images = ["--images", "4" if little else "16", "--fast-images", "8" if little else "40"]
    images += ["--one-at-a-time-images", "2", "--generation", "{batch_size: 2}" if little else "{batch_size: 8}"]
    steps = ["--steps", "5"] if little else []
    clip = ["--models", "demo"] if little else ["--models", "ViT-B-32", "ViT-L-14"]
    scored = ["--images", "16", "--side", "64", "--sides", "64"] if little else ["--images", "256"]
    drawn = ["--images", "8", "--batch", "4", "--sizes", "1", "3"] if little else []
    drawn += ["--generation", "{num_inference_steps: 2}"] if little else []
    again = ["--loops", "paper-fast", "--repeats", "1"]
    return [
        ("scoring", ["scoring.py", *device, *clip, *scored, "--rounds", "2"], 150),
        ("reproducibility", ["reproducibility.py", *device, *drawn], 120),
        ("synthesis", ["synthesis.py", *device, *models, *steps, *images, "--repeats", "2"], 480),
        ("restart", ["synthesis.py", *device, *models, *steps, *images, *again], 120),
        ("variants", ["unet_variants.py", *device, "--model", options.model, "--variants", *variants(little)], 240),
    ]


def variants(little: bool) -> list[str]:
    """Of the UNet and the autoencoder."""
    return ["eager", "vae"] if little else ["eager", "blocks", "whole", "vae", "vae blocks"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="gets the figures")
    parser.add_argument("--device", default="cuda", help="torch device")
    parser.add_argument("--model", default="random-sdxl", choices=["random-sdxl", "demo"])
    parser.add_argument("--models-folder", type=Path, help="of random-sdxl, 15 GB; best in memory, e.g. /dev/shm/sdxl")
    parser.add_argument("--minutes", type=float, default=9.5, help="after which nothing runs any more")
    return parser.parse_args()


if __name__ == "__main__":
    main()
