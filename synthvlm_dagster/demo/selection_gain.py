"""What selection gained on a finished demo: `python -m synthvlm_dagster.demo.selection_gain --recipe demo`.

The judge, which no stage of the pipeline sees, looks at every scored image of the store. Prints how often the selected
ones are right and how often images drawn at random are, and the same for the best attempt of each caption.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import polars as pl

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.dataset.selection import competing_images
from synthvlm_dagster.demo import oracle, world
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

_RESAMPLES = 2000
_ALMOST_EVERYWHERE = (2.5, 97.5)


@dataclass(frozen=True)
class Gain:
    """How much more often chosen images are right than random ones.

    Attributes:
        images: how many were chosen.
        right: share of them of whose caption every word is true.
        random: the same share of a caption and one of its attempts drawn at random.
        low, high: 95 % bootstrap interval of the difference, over captions.
    """

    images: int
    right: float
    random: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """right - random."""
        return self.right - self.random

    def __str__(self) -> str:
        """One line, in percent and points."""
        return (
            f"{100 * self.right:.1f} % of {self.images} are right, {100 * self.random:.1f} % of random ones: "
            f"{100 * self.gain:+.1f} points (95 %: {100 * self.low:+.1f} to {100 * self.high:+.1f})"
        )


def judged_images(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    """Look at every scored image: image_id, caption_id, and whether every word of its caption is true (Boolean).

    Captions that are no sentence of the small world are left out.

    Raises:
        StorageError: nothing is scored, or an image is missing.
    """
    scores = read_scores(recipe, storage).select("image_id", "caption_id", "shard", "text").collect()
    if scores.is_empty():
        raise StorageError(f"{storage.url()}: no image is scored yet; run the recipe first: synthvlm run")
    right = {}
    for batch in with_images(recipe, storage, scores):
        contents = pl.col("image").struct.field("bytes")
        for image_id, text, content in batch.select("image_id", "text", contents).iter_rows():
            scene = world.parse_caption(text)
            if scene is not None:
                right[image_id] = oracle.judge(decode_image(content), scene).all_correct
    verdicts = pl.DataFrame({"image_id": list(right), "right": list(right.values())})
    return scores.select("image_id", "caption_id").join(verdicts, on="image_id").sort("image_id")


def gain_over_random(judged: pl.DataFrame, chosen: pl.Series, seed: int = 0) -> Gain:
    """Compare chosen images with a random attempt of a random caption.

    Args:
        judged: image_id, caption_id and right (Boolean), one row per image.
        chosen: image_ids, at most one of each caption; those not in `judged` do not count.
        seed: of the bootstrap, which draws captions with replacement, 2000 times.
    """
    captions = (
        judged.with_columns(chosen=pl.col("image_id").is_in(chosen.implode()))
        .group_by("caption_id")
        .agg(pl.col("right").mean().alias("random"), pl.col("right").filter("chosen").first().alias("of_chosen"))
        .sort("caption_id")
    )
    random_share = captions["random"].to_numpy()
    is_chosen = captions["of_chosen"].is_not_null().to_numpy()
    of_chosen = captions["of_chosen"].fill_null(False).to_numpy().astype(float)
    source = np.random.default_rng(seed)
    gains = []
    for _ in range(_RESAMPLES):
        drawn = source.integers(len(captions), size=len(captions))
        if is_chosen[drawn].any():
            gains.append(of_chosen[drawn].sum() / is_chosen[drawn].sum() - random_share[drawn].mean())
    low, high = np.percentile(gains, _ALMOST_EVERYWHERE)
    return Gain(
        images=int(is_chosen.sum()),
        right=float(of_chosen.sum() / is_chosen.sum()),
        random=float(random_share.mean()),
        low=float(low),
        high=float(high),
    )


def selection_gains(recipe: Recipe, storage: Storage) -> dict[str, Gain]:
    """The gain of the selected pairs, and of the best attempt of each caption by the recipe's strategy.

    Raises:
        StorageError: a table or an image of the pipeline is missing.
    """
    judged = judged_images(recipe, storage)
    best = competing_images(read_scores(recipe, storage), recipe.selection, recipe.seed)
    chosen = {
        "selected pairs": storage.scan(SELECTED).select("image_id").collect()["image_id"],
        "best attempts": best.select("image_id").collect()["image_id"],
    }
    return {name: gain_over_random(judged, image_ids) for name, image_ids in chosen.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print the gains of a finished demo."""
    from synthvlm_dagster.cli import console, plain_errors, use_recipe

    parser = argparse.ArgumentParser(prog="python -m synthvlm_dagster.demo.selection_gain", description=__doc__)
    parser.add_argument("--recipe", default="demo", help="recipe file, or name of a packaged one; default: demo")
    options = parser.parse_args(arguments)
    with plain_errors():
        recipe = use_recipe(options.recipe)
        for name, gain in selection_gains(recipe, Storage(recipe.storage)).items():
            console.print(f"{name}: {gain}", markup=False)


if __name__ == "__main__":
    main()
