"""Measures the demo's models: `python -m synthvlm_dagster.demo.evaluate --models DIR`.

Prompts that training never saw go through the generator, the judge reads the pictures, and the paper's score
(CLIPScore + 0.5·SSIM) is asked to find the right ones. Writes `figures.json` into the models' folder, and the same
figures as tables into its model card.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthvlm_dagster.demo import oracle, world

logger = logging.getLogger(__name__)

STEPS = 12
GUIDANCE = 1.5
SSIM_SIZE = 21
"""The paper's 336 of 1024 pixels, of 64."""

SSIM_WEIGHT = 0.5
DEFAULT_MODELS = Path(__file__).parent / "models"
FIGURES_START, FIGURES_END = "<!-- figures -->", "<!-- /figures -->"
ATTRIBUTES = ("count", "colour", "shape", "size", "relation", "background")


@dataclass(frozen=True)
class Attempts:
    """Pictures of held-out scenes, `attempts` in a row for each.

    Attributes:
        scenes: one per prompt.
        images: uint8, shape (prompts, attempts, 64, 64, 3).
        correct: bool, shape (prompts, attempts); every word of the caption is true.
        attributes: per attribute bool, shape (prompts, attempts).
        clip_score: float, shape (prompts, attempts); cosine, clipped at 0.
        weighted_score: float, shape (prompts, attempts); CLIPScore + 0.5·SSIM.
    """

    scenes: list[world.Scene]
    images: np.ndarray
    correct: np.ndarray
    attributes: dict[str, np.ndarray]
    clip_score: np.ndarray
    weighted_score: np.ndarray


class Scorer:
    """The exported open_clip model, as the pipeline's scorer uses it."""

    def __init__(self, folder: Path) -> None:
        import open_clip

        name = f"local-dir:{folder}"
        self._model, _, self._preprocess = open_clip.create_model_and_transforms(name)
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(name)

    def cosines(self, images: np.ndarray, captions: list[str]) -> np.ndarray:
        """Cosine of every image with its caption: uint8 (n, 64, 64, 3) and n captions to float32 (n,)."""
        import torch
        from PIL import Image

        from synthvlm_dagster.demo.training.tokenizer import SCORER_PREFIX

        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 128):
                pixels = torch.stack([self._preprocess(Image.fromarray(x)) for x in images[start : start + 128]])
                tokens = self._tokenizer([SCORER_PREFIX + caption for caption in captions[start : start + 128]])
                image_features = self._model.encode_image(pixels, normalize=True)
                text_features = self._model.encode_text(tokens, normalize=True)
                parts.append((image_features * text_features).sum(dim=-1).numpy())
        return np.concatenate(parts)


def held_out_scenes(count: int, rng: np.random.Generator) -> list[world.Scene]:
    """Held-out scenes, half of them with one object; none twice where there are enough."""
    scenes = []
    for n_objects, share in ((1, count // 2), (2, count - count // 2)):
        candidates = [scene for scene in world.all_scenes(n_objects) if world.is_held_out(scene)]
        order = [index for _ in range(-(-share // len(candidates))) for index in rng.permutation(len(candidates))]
        scenes += [_told_either_way(candidates[index], rng) for index in order[:share]]
    return scenes


def _told_either_way(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    if scene.relation is None or rng.random() < 0.5:
        return scene
    return world.Scene(scene.objects[::-1], scene.background, world.OPPOSITE[scene.relation])


def generate(folder: Path, captions: list[str], seeds: list[int], batch: int = 32) -> np.ndarray:
    """One picture per caption and seed, with the exported pipeline: uint8, shape (n, 64, 64, 3)."""
    import torch
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for start in range(0, len(captions), batch):
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds[start : start + batch]]
        pictures = pipeline(
            captions[start : start + batch],
            height=world.IMAGE_SIZE,
            width=world.IMAGE_SIZE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generators,
            output_type="np",
        ).images
        parts.append(np.rint(pictures * 255).astype(np.uint8))
    return np.concatenate(parts)


def make_attempts(models: Path, n_prompts: int, n_attempts: int, seed: int) -> Attempts:
    """Generate, judge and score pictures of held-out scenes."""
    from synthvlm_dagster.scores.ssim import resize_ssim

    rng = np.random.default_rng(seed)
    scenes = held_out_scenes(n_prompts, rng)
    captions = [world.write_caption(scene, rng) for scene in scenes]
    repeated = [caption for caption in captions for _ in range(n_attempts)]
    seeds = [int(value) for value in rng.integers(2**31, size=len(repeated))]
    images = generate(models / "shapes-sdxl", repeated, seeds)
    clip_score = np.maximum(Scorer(models / "shapes-clip").cosines(images, repeated), 0)
    ssim = np.array([resize_ssim(image, size=SSIM_SIZE) for image in images])
    verdicts = [
        oracle.judge(image, scene)
        for image, scene in zip(images, (scene for scene in scenes for _ in range(n_attempts)), strict=True)
    ]
    shape = (n_prompts, n_attempts)
    return Attempts(
        scenes=scenes,
        images=images.reshape(*shape, *images.shape[1:]),
        correct=np.array([verdict.all_correct for verdict in verdicts]).reshape(shape),
        attributes={
            name: np.array([getattr(verdict, name) for verdict in verdicts]).reshape(shape) for name in ATTRIBUTES
        },
        clip_score=clip_score.reshape(shape),
        weighted_score=(clip_score + SSIM_WEIGHT * ssim).reshape(shape),
    )


def generator_figures(attempts: Attempts, rng: np.random.Generator) -> dict[str, Any]:
    """How often the generator is right, for one object and for two, with 95 % bootstrap intervals over prompts."""
    figures = {}
    for n_objects, name in ((1, "one object"), (2, "two objects")):
        rows = np.array([len(scene.objects) == n_objects for scene in attempts.scenes])
        figures[name] = {
            "prompts": int(rows.sum()),
            "images": int(attempts.correct[rows].size),
            "all correct": _with_interval(attempts.correct[rows].mean(axis=1), rng),
            **{
                attribute: round(float(values[rows].mean()), 4)
                for attribute, values in attempts.attributes.items()
                if n_objects == 2 or attribute != "relation"
            },
        }
    return figures


def selection_figures(attempts: Attempts, rng: np.random.Generator) -> dict[str, Any]:
    """What choosing by score gains over choosing at random, with 95 % bootstrap intervals over prompts."""
    return {
        "random": round(float(attempts.correct.mean()), 4),
        **{
            f"{chosen} by {name}": _selection(attempts.correct, score, best_of, rng)
            for name, score in (("weighted score", attempts.weighted_score), ("CLIPScore", attempts.clip_score))
            for chosen, best_of in (("top 20 %", False), ("best attempt", True))
        },
    }


def _selection(correct: np.ndarray, score: np.ndarray, best_of: bool, rng: np.random.Generator) -> dict[str, Any]:
    def chosen_share(rows: np.ndarray) -> float:
        if best_of:
            return float(correct[rows, score[rows].argmax(axis=1)].mean())
        flat_score, flat_correct = score[rows].ravel(), correct[rows].ravel()
        top = np.argsort(-flat_score)[: max(1, len(flat_score) // 5)]
        return float(flat_correct[top].mean())

    everything = np.arange(len(correct))
    resamples = [rng.integers(len(correct), size=len(correct)) for _ in range(2000)]
    gains = [chosen_share(rows) - float(correct[rows].mean()) for rows in resamples]
    return {
        "all correct": round(chosen_share(everything), 4),
        "gain over random": round(chosen_share(everything) - float(correct.mean()), 4),
        "95 % interval of the gain": [round(float(value), 4) for value in np.percentile(gains, (2.5, 97.5))],
    }


def _with_interval(per_prompt: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    means = [per_prompt[rng.integers(len(per_prompt), size=len(per_prompt))].mean() for _ in range(2000)]
    return {
        "share": round(float(per_prompt.mean()), 4),
        "95 % interval": [round(float(value), 4) for value in np.percentile(means, (2.5, 97.5))],
    }


def scorer_figures(models: Path, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often the CLIP puts the truth above a near miss, on held-out scenes.

    For each scene: its picture against its caption and the caption with one attribute changed; and its caption
    against its picture and a picture of each kind of failure that fits it.
    """
    from synthvlm_dagster.demo.training.negatives import FAILURES, draw_failure, swap_one_attribute

    scorer = Scorer(models / "shapes-clip")
    scenes = held_out_scenes(count, rng)
    captions = [world.write_caption(scene, rng) for scene in scenes]
    pictures = np.stack([world.render(scene, rng) for scene in scenes])
    swapped = [swap_one_attribute(scene, rng) for scene in scenes]
    swapped_captions = [world.write_caption(scene, rng) for scene in swapped]
    swapped_pictures = np.stack([world.render(scene, rng) for scene in swapped])
    truth = scorer.cosines(pictures, captions)
    failures = {}
    for failure in FAILURES:
        fits = [
            row
            for row, scene in enumerate(scenes)
            if len(scene.objects) != {"missing object": 1, "extra object": 2}.get(failure)
        ]
        failed = np.stack([draw_failure(scenes[row], failure, rng) for row in fits])
        wins = truth[fits] > scorer.cosines(failed, [captions[row] for row in fits])
        failures[failure] = wins
    return {
        "scenes": count,
        "caption with one attribute changed": _share(truth > scorer.cosines(pictures, swapped_captions)),
        "picture with one attribute changed": _share(truth > scorer.cosines(swapped_pictures, captions)),
        "failures": _share(np.concatenate(list(failures.values()))),
        **{f"failure: {name}": _share(wins) for name, wins in failures.items()},
    }


def _share(wins: np.ndarray) -> float:
    return round(float(wins.mean()), 4)


def within_prompt_figures(attempts: Attempts) -> dict[str, Any]:
    """Among attempts at one prompt: how often a right picture scores above a wrong one, over all such pairs."""
    wins = []
    for correct, score in zip(attempts.correct, attempts.clip_score, strict=True):
        wins.append((score[correct][:, None] > score[~correct][None, :]).ravel())
    flat = np.concatenate(wins)
    return {"pairs": int(flat.size), "right above wrong by CLIPScore": _share(flat) if flat.size else None}


def contact_sheet(attempts: Attempts, path: Path, n_prompts: int = 48) -> None:
    """Save the attempts of evenly spaced prompts, twelve prompts a row, wrong ones framed in black."""
    from PIL import Image

    rows = np.linspace(0, len(attempts.images) - 1, n_prompts).astype(int)
    columns = []
    for row in rows:
        tiles = []
        for image, correct in zip(attempts.images[row], attempts.correct[row], strict=True):
            tiles.append(np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=255 if correct else 0))
        columns.append(np.concatenate(tiles))
    lines = [np.concatenate(columns[start : start + 12], axis=1) for start in range(0, len(columns), 12)]
    sheet = Image.fromarray(np.concatenate(lines))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path)


def insert_figures(card: str, figures: dict[str, Any]) -> str:
    """The model card with its tables between `FIGURES_START` and `FIGURES_END` replaced.

    Raises:
        ValueError: the card has not both marks.
    """
    before, _, rest = card.partition(FIGURES_START)
    _, end, after = rest.partition(FIGURES_END)
    if not end:
        raise ValueError(f"the model card has no {FIGURES_START} … {FIGURES_END} to put the figures between")
    return before + FIGURES_START + "\n" + figure_tables(figures) + FIGURES_END + after


def figure_tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    settings, scorer = figures["settings"], figures["scorer"]
    generator = figures["generator"]
    made = f"{settings['prompts']} held-out prompts, {settings['attempts']} attempts each, {settings['steps']} steps, "
    made += f"guidance {settings['guidance']:g}, seed {settings['seed']}. Intervals: 95 %, bootstrap over prompts."
    lines = [
        made,
        "",
        "| generator | " + " | ".join(generator) + " |",
        "|---|" + "---|" * len(generator),
        "| images | " + " | ".join(str(row["images"]) for row in generator.values()) + " |",
        "| every word true | " + " | ".join(_percent_with_interval(row) for row in generator.values()) + " |",
    ]
    for attribute in ATTRIBUTES:
        cells = [_percent(row[attribute]) if attribute in row else "–" for row in generator.values()]
        lines.append(f"| {attribute} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"| selection (random: {_percent(figures['selection']['random'])}) | every word true | gain over random |",
        "|---|---|---|",
    ]
    for name, row in figures["selection"].items():
        if name != "random":
            low, high = row["95 % interval of the gain"]
            gain = f"{100 * row['gain over random']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
            lines.append(f"| {name} | {_percent(row['all correct'])} | {gain} |")
    lines += ["", f"| scorer, {scorer['scenes']} held-out scenes | truth scores higher |", "|---|---|"]
    lines += [f"| {name} | {_percent(share)} |" for name, share in scorer.items() if name != "scenes"]
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _percent_with_interval(row: dict[str, Any]) -> str:
    low, high = row["all correct"]["95 % interval"]
    return f"{_percent(row['all correct']['share'])} ({100 * low:.1f} to {100 * high:.1f})"


def main(arguments: list[str] | None = None) -> None:
    """Measure a folder of models and write its `figures.json`."""
    parser = argparse.ArgumentParser(prog="python -m synthvlm_dagster.demo.evaluate", description=__doc__)
    parser.add_argument("--models", type=Path, default=DEFAULT_MODELS)
    parser.add_argument("--prompts", type=int, default=320)
    parser.add_argument("--attempts", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--contact-sheet", type=Path, help="also save the pictures to this PNG file")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started = time.monotonic()
    attempts = make_attempts(options.models, options.prompts, options.attempts, options.seed)
    rng = np.random.default_rng(options.seed)
    figures = {
        "settings": {
            "prompts": options.prompts,
            "attempts": options.attempts,
            "seed": options.seed,
            "steps": STEPS,
            "guidance": GUIDANCE,
        },
        "generator": generator_figures(attempts, rng),
        "selection": selection_figures(attempts, rng),
        "within prompts": within_prompt_figures(attempts),
        "scorer": scorer_figures(options.models, 1000, rng),
    }
    (options.models / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    card = options.models / "README.md"
    if card.exists():
        card.write_text(insert_figures(card.read_text(), figures))
    if options.contact_sheet:
        contact_sheet(attempts, options.contact_sheet)
    logger.info("%s\n%.0f s", json.dumps(figures, indent=2), time.monotonic() - started)


if __name__ == "__main__":
    main()
