"""Scoring: SSIM against scikit-image, CLIPScore against a loop in the manner of the official script, in one run.

    python benchmarks/scoring.py                     # ViT-B-32 with random weights at 224 pixels, and the demo's model
    python benchmarks/scoring.py --device cuda --images 2048 --pairs-per-caption 5

SSIM is that of an image with its 336/1024 round trip. `similarity` times the comparison alone, `whole` with Pillow's
two resizes, which both sides share; CPU time of one thread per image, and the largest difference of the scores.

CLIP is images per second of files on a disk, wall clock. Loops:
    official    as clipscore.py of jmhessel/clipscore and the script of SynthVLM made of it: images in batches of 64
                through a DataLoader with 8 workers (fewer where there are fewer processors), then the text of every
                image once more, in batches of 256, then the cosines
    one by one  an image and its text at a time, as the short examples of open_clip do
    package     `clip_scores`, less what it takes for one image, which is nearly all loading
    official, tensors; package, tensors
                the same from images in memory that are ready for the model: no disk, no decoding
All are given the same model, files and captions, `--pairs-per-caption` images per caption, and no half precision. Each
round measures all loops, every second round in reverse order; figures are medians over rounds. `to the CPU` is the
largest difference of this package's scores, and of the official loop's, from those that the CPU gives `--compared` of
the images.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage.metrics import structural_similarity

import synthvlm_dagster.demo
from synthvlm_dagster.demo import world
from synthvlm_dagster.recipe import ClipScoring
from synthvlm_dagster.scores.clip import ClipScorer, clip_scores
from synthvlm_dagster.scores.ssim import resize_ssim
from synthvlm_dagster.scores.ssim_windows import SSIM_WINDOWS

PREFIX = "A photo depicts "
DEMO = Path(synthvlm_dagster.demo.__file__).parent / "models" / "shapes-clip"
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="torch device of the CLIP models")
    parser.add_argument("--sides", type=int, nargs="*", default=[1024, 512], help="of images for SSIM, pixels")
    parser.add_argument("--images", type=int, default=96, help="for CLIP")
    parser.add_argument("--side", type=int, default=512, help="of images for CLIP, pixels")
    parser.add_argument("--pairs-per-caption", type=int, default=4, help="images of each caption, for CLIP")
    parser.add_argument("--models", nargs="+", choices=["ViT-B-32", "ViT-L-14", "demo"], default=["ViT-B-32", "demo"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compared", type=int, default=16, help="images whose scores the CPU gives too")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    figures = {"ssim": [row for side in given.sides for row in measure_ssim(side, given.rounds)]}
    print_ssim(figures["ssim"])
    with tempfile.TemporaryDirectory() as folder:
        files, captions = write_images(Path(folder) / "images", given.images, given.side, given.pairs_per_caption)
        figures["clip"] = []
        for model in given.models:
            weights = DEMO if model == "demo" else save_random_clip(Path(folder) / model, model)
            figures["clip"].append(measure_clip(model, weights, files, captions, given))
            print_clip(figures["clip"][-1:], given)
            if given.json:
                given.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def measure_ssim(side: int, rounds: int) -> list[dict[str, object]]:
    """Milliseconds of CPU time per image, package and scikit-image, for each variant."""
    image = photograph(side, seed=side)
    rows = []
    for channels, window in (("gray", "uniform"), ("rgb", "uniform"), ("gray", "gaussian")):
        before = Image.fromarray(image).convert("L" if channels == "gray" else "RGB")
        size = round(side * 336 / 1024)

        def shrink(before: Image.Image = before, size: int = size) -> np.ndarray:
            reduced = before.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(reduced.resize(before.size, Image.Resampling.BILINEAR))

        first, second = np.asarray(before), shrink()
        options = {"data_range": 255, "channel_axis": None if channels == "gray" else 2}
        options |= GAUSSIAN if window == "gaussian" else {}

        def peer(other: np.ndarray, first: np.ndarray = first, options: dict = options) -> float:  # type: ignore[type-arg]
            return float(structural_similarity(first, other, **options))

        def ours(first: np.ndarray = first, second: np.ndarray = second, window: str = window) -> float:
            planes = (first, second) if first.ndim == 2 else (np.moveaxis(first, 2, 0), np.moveaxis(second, 2, 0))
            pairs = [planes] if first.ndim == 2 else list(zip(*map(np.ascontiguousarray, planes), strict=True))
            return float(np.mean([SSIM_WINDOWS[window].similarity(a, b) for a, b in pairs]))

        loops: dict[str, Callable[[], float]] = {
            "scikit-image, similarity": lambda second=second, peer=peer: peer(second),
            "package, similarity": ours,
            "scikit-image, whole": lambda peer=peer, shrink=shrink: peer(shrink()),
            "package, whole": lambda c=channels, w=window: resize_ssim(image, channels=c, window=w),
        }
        values = {name: loop() for name, loop in loops.items()}
        took = {name: 1000 * seconds for name, seconds in in_turn(loops, max(rounds, 5), time.process_time).items()}
        difference = max(values.values()) - min(values.values())
        rows.append(
            {"side": side, "channels": channels, "window": window, "milliseconds": took, "difference": difference}
        )
    return rows


def measure_clip(
    name: str, weights: Path, files: Sequence[Path], captions: Sequence[str], given: argparse.Namespace
) -> dict[str, object]:
    """Images per second of each loop, and the largest difference of their scores."""
    device = given.device
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{weights}", device=device)
    model.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{weights}")
    scorer = ClipScorer(ClipScoring(model=str(weights), pretrained=None), device)
    scorer.load()
    ready = [preprocess(Image.open(file).convert("RGB")) for file in files]

    def package_from_tensors() -> np.ndarray:
        scorer._told.clear()  # as if it were new: captions are encoded again
        starts = range(0, len(ready), 64)
        return np.concatenate([scorer.score(ready[at : at + 64], captions[at : at + 64]).scores for at in starts])

    loops: dict[str, Callable[[], np.ndarray]] = {
        "official": lambda: official_loop(model, preprocess, tokenize, files, captions, device),
        "one by one": lambda: one_by_one(model, preprocess, tokenize, files, captions, device),
        "package": lambda: clip_scores(files, captions, model=str(weights), pretrained=None, device=device),
        "official, tensors": lambda: official_scores(
            model, tokenize, map(torch.stack, batched(ready, 64)), captions, device
        ),
        "package, tensors": package_from_tensors,
    }
    scores = [loop() for loop in loops.values()]
    took = in_turn(loops, given.rounds, time.perf_counter)
    # What loading takes is not in the other loops.
    one = {"one": lambda: clip_scores(files[:1], captions[:1], model=str(weights), pretrained=None, device=device)}
    took["package"] -= in_turn(one, given.rounds)["one"]
    count = given.compared
    on_cpu = clip_scores(files[:count], captions[:count], model=str(weights), pretrained=None, device="cpu")
    return {
        "model": name,
        "images_per_second": {loop: len(files) / seconds for loop, seconds in took.items()},
        "mean_score": float(scores[0].mean()),
        "difference": float(max(np.abs(each - scores[0]).max() for each in scores)),
        "difference_from_cpu": float(np.abs(scores[2][:count] - on_cpu).max()),
        "official_difference_from_cpu": float(np.abs(scores[0][:count] - on_cpu).max()),
    }


class _Files(torch.utils.data.Dataset):
    def __init__(self, files: Sequence[Path], preprocess: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files, self.preprocess = files, preprocess

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.preprocess(Image.open(self.files[number]).convert("RGB"))


@torch.inference_mode()
def official_loop(model, preprocess, tokenize, files, captions, device) -> np.ndarray:  # type: ignore[no-untyped-def]
    """All images, then all texts, then the cosines."""
    loader = torch.utils.data.DataLoader(
        _Files(files, preprocess), batch_size=64, num_workers=min(8, os.cpu_count() or 1), shuffle=False
    )
    return official_scores(model, tokenize, loader, captions, device)


@torch.inference_mode()
def official_scores(model, tokenize, batches, captions, device) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The same from batches of images that are ready for the model."""
    seen = np.vstack([model.encode_image(batch.to(device)).float().cpu().numpy() for batch in batches])
    prefixed = [PREFIX + caption for caption in captions]
    texts = [tokenize(prefixed[start : start + 256]) for start in range(0, len(prefixed), 256)]
    told = np.vstack([model.encode_text(tokens.to(device)).float().cpu().numpy() for tokens in texts])
    seen, told = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (seen, told))
    return np.clip((seen * told).sum(axis=1), 0, None)


@torch.inference_mode()
def one_by_one(model, preprocess, tokenize, files, captions, device) -> np.ndarray:  # type: ignore[no-untyped-def]
    """An image and its text at a time."""
    scores = []
    for file, caption in zip(files, captions, strict=True):
        seen = model.encode_image(preprocess(Image.open(file).convert("RGB"))[None].to(device))
        told = model.encode_text(tokenize([PREFIX + caption]).to(device))
        scores.append(max(0.0, torch.nn.functional.cosine_similarity(seen.float(), told.float()).item()))
    return np.array(scores)


def batched(items: Sequence[torch.Tensor], size: int) -> list[Sequence[torch.Tensor]]:
    """Parts of that size; the last may be smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def in_turn(
    loops: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each, over rounds that run all of them, every second one backwards."""
    took: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        for name in reversed(loops) if number % 2 else loops:
            began = clock()
            loops[name]()
            took[name].append(clock() - began)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def photograph(side: int, seed: int) -> np.ndarray:
    """Soft shapes under fine grain: uint8, shape (side, side, 3)."""
    chance = np.random.default_rng(seed)
    shapes = Image.fromarray(chance.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
    soft = np.asarray(shapes.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
    return (soft + chance.integers(-9, 10, soft.shape)).clip(0, 255).astype(np.uint8)


def write_images(folder: Path, count: int, side: int, per_caption: int) -> tuple[list[Path], list[str]]:
    """JPEG files of the demo's world, and the caption of each."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    captions: list[str] = []
    for number, file in enumerate(files):
        if number % per_caption == 0:
            scene = world.sample_scene(chance)
            caption = world.write_caption(scene, chance)
        picture = Image.fromarray(world.render(scene, chance)).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(file, quality=95)
        captions.append(caption)
    return files, captions


def save_random_clip(folder: Path, name: str) -> Path:
    """An architecture of open_clip with random weights, as a model folder."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    # Random towers look into one direction each. Scores below 0 are cut off, and all would be equal.
    with torch.inference_mode():
        seen = model.encode_image(preprocess(Image.fromarray(photograph(224, 0)))[None])
        if (seen * model.encode_text(open_clip.get_tokenizer(name)([PREFIX]))).sum() < 0:
            model.visual.proj.data.neg_()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def print_ssim(rows: list[dict]) -> None:  # type: ignore[type-arg]
    """One line a variant."""
    print("SSIM, ms of CPU time per image   similarity alone            with both resizes          largest difference")
    print("                                 skimage  package  times     skimage  package  times")
    for row in rows:
        took = row["milliseconds"]
        peer, ours, peer_whole, whole = took.values()
        label = f"{row['side']}² {row['channels']} {row['window']}"
        print(
            f"{label:<32} {peer:7.2f}  {ours:7.2f}  {peer / ours:5.1f}     {peer_whole:7.2f}  {whole:7.2f}  "
            f"{peer_whole / whole:5.1f}     {row['difference']:.1e}"
        )


def print_clip(rows: list[dict], given: argparse.Namespace) -> None:  # type: ignore[type-arg]
    """One line a model."""
    files = f"{given.images} files of {given.side}², {given.pairs_per_caption} a caption"
    print(f"\nCLIP, images/s on {given.device}: {files}")
    print(f"{'':34}from files{'':30}from tensors")
    print(
        "            one by one   official    package   times official   official    package   times official"
        "   largest difference   to the CPU (official)   mean score"
    )
    for row in rows:
        rate = row["images_per_second"]
        print(
            f"{row['model']:<12}{rate['one by one']:10.1f} {rate['official']:10.1f} {rate['package']:10.1f} "
            f"{rate['package'] / rate['official']:16.2f} {rate['official, tensors']:10.1f} "
            f"{rate['package, tensors']:10.1f} {rate['package, tensors'] / rate['official, tensors']:16.2f}   "
            f"{row['difference']:18.1e}   {row['difference_from_cpu']:10.1e} "
            f"({row['official_difference_from_cpu']:.1e})   {row['mean_score']:10.3f}"
        )


if __name__ == "__main__":
    main()
