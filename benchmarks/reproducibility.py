"""Does a device give the same pictures again? The same rows in two processes, and in batches of other sizes.

    python benchmarks/reproducibility.py --device cuda

Two processes draw the same shard with `--batch` images at once; their files must be the same to the last byte. The
first then draws it with other batch sizes, whose pictures may differ in what rounding does: reported are the largest
difference of a pixel's channel (0-255), the share of channels that differ at all, and the largest difference of
CLIPScore. The device is leased as `device: auto` leases it, unless it is named. `--generation` is laid over the demo's
recipe, e.g. '{compile: true}'.

On a GPU the second process then lets itself have less memory than a batch needs, to see that the batch is halved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml

from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.plan import PLAN_TABLE, plan_attempts
from synthvlm_dagster.images.shard import ShardSummary
from synthvlm_dagster.recipe import Attempts, Recipe, load_recipe
from synthvlm_dagster.recipe.loading import parse_recipe
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.shards import generate_shard

DTYPES = ("float32", "float16")
LITTLE_MEMORY = 100e6
"""Bytes; a batch of 64 takes 160 million."""


def main() -> None:
    """Draw in two processes, compare."""
    options = _options()
    if options.child:
        draw(options)
        return
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / "first", Path(name) / "second"]
        children = [subprocess.Popen(_command(options, folder)) for folder in folders]
        if [child for child in children if child.wait()]:
            sys.exit("a process failed")
        found = compare(options, *folders)
    for dtype in DTYPES:
        print(f"{dtype}, {options.images} images, {options.batch} at once, two processes: files are ", end="")
        print("the same" if found[dtype]["same_files"] else "NOT the same")
        for size, one in found[dtype]["sizes"].items():
            print(
                f"    {size:>3} at once: largest difference of a pixel {one['pixel']}, {one['share']:.3%} of channels "
                f"differ, of CLIPScore {one['clip_score']:.1e}"
            )
    for line in found["little_memory"]:
        print(f"    with little memory: {line}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


def draw(options: argparse.Namespace) -> None:
    """As a child: the shard in each precision and batch size, a store for each."""
    first = options.child.name == "first"
    sizes = [options.batch, *options.sizes] if first else [options.batch]
    for dtype in DTYPES:
        for size in sizes:
            draw_shard(options, dtype, size)
    if not first:
        options.child.joinpath("little-memory.json").write_text(json.dumps(_with_little_memory(options)))


def draw_shard(
    options: argparse.Namespace, dtype: str, size: int, on_warning: Any = lambda _: None
) -> tuple[Recipe, ShardSummary]:
    """One shard, in a store of its own."""
    recipe = _recipe(options, options.child, dtype, size)
    storage = Storage(recipe.storage)
    texts = [f"{number} shapes, of which the {number % 7}th is blue" for number in range(options.images)]
    ids = [f"{number:016x}" for number in range(options.images)]
    captions = pl.DataFrame({"caption_id": ids, "text": texts, "shard": "0000"})
    storage.write_table(PLAN_TABLE, plan_attempts(captions, Attempts(), seed=0))
    generator = DiffusersGenerator(recipe.generation)
    return recipe, generate_shard(recipe, storage, "0000", generator, on_warning=on_warning)


def compare(options: argparse.Namespace, first: Path, second: Path) -> dict[str, Any]:
    """What differs between processes, and between batch sizes."""
    scorer = ClipScorer(load_recipe("demo").scoring.clip, options.device)
    found: dict[str, Any] = {"little_memory": json.loads(second.joinpath("little-memory.json").read_text())}
    for dtype in DTYPES:
        files = [_files(_recipe(options, folder, dtype, options.batch)) for folder in (first, second)]
        pictures, scores = _scored(_recipe(options, first, dtype, options.batch), scorer)
        sizes = {}
        for size in options.sizes:
            others, other_scores = _scored(_recipe(options, first, dtype, size), scorer)
            differences = np.abs(pictures.astype(np.int16) - others)
            sizes[size] = {
                "pixel": int(differences.max()),
                "share": float((differences > 0).mean()),
                "clip_score": float(np.abs(scores - other_scores).max()),
            }
        found[dtype] = {"same_files": files[0] == files[1], "files": len(files[0]), "sizes": sizes}
    return found


def _with_little_memory(options: argparse.Namespace) -> list[str]:
    if options.device == "cpu" or not torch.cuda.is_available():
        return []
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(LITTLE_MEMORY / torch.cuda.get_device_properties(0).total_memory)
    said: list[str] = []
    _, summary = draw_shard(options, "float32", options.images * 8, said.append)
    return [*said, f"{summary.made} of {options.images} images made, peak {(summary.peak_memory or 0) / 1e6:.0f} MB"]


def _files(recipe: Recipe) -> dict[str, bytes]:
    storage = Storage(recipe.storage)
    return {path: storage.read_bytes(path) for path in storage.files(images_table(recipe, "0000"), ".parquet")}


def _scored(recipe: Recipe, scorer: ClipScorer) -> tuple[np.ndarray, np.ndarray]:
    rows = Storage(recipe.storage).scan_files(sorted(_files(recipe))).sort("image_id").collect()
    pictures = [decode_image(image["bytes"]) for image in rows["image"]]
    return np.stack(pictures), scorer.clip_scores(pictures, rows["text"].to_list())


def _recipe(options: argparse.Namespace, folder: Path, dtype: str, size: int) -> Recipe:
    store = folder / f"{dtype}-{size}"
    store.mkdir(parents=True, exist_ok=True)
    demo = load_recipe("demo").generation.model_dump(mode="json", exclude={"preset"})
    changes = {"dtype": dtype, "batch_size": size, "device": options.device, "image_format": "png", "retries": 0}
    text = {
        "name": "reproducibility",
        "storage": str(store),
        "sources": [{"name": "none", "path": "none.txt"}],
        "shards": 1,
        "generation": demo | changes | options.generation,
        "selection": {"share": 0.5},
    }
    return parse_recipe(yaml.safe_dump(text), store)


def _command(options: argparse.Namespace, folder: Path) -> list[str]:
    folder.mkdir()
    arguments = [sys.executable, __file__, "--child", folder, "--generation", json.dumps(options.generation)]
    for name in ("device", "images", "batch"):
        arguments += [f"--{name}", getattr(options, name)]
    return [str(argument) for argument in (*arguments, "--sizes", *options.sizes)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="torch device")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="images at once, in both processes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 7, 64], help="other batch sizes")
    parser.add_argument("--generation", type=yaml.safe_load, default={}, help="YAML laid over the demo's recipe")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
