"""Other datasets measured as the generated images are, to stand beside the selected pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from synthvlm_dagster.captions.made_from import image_folder, source_version
from synthvlm_dagster.captions.measures.original_images import Opened, OriginalImages
from synthvlm_dagster.captions.picture_files import digest_of_pictures, picture_states
from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.errors import CaptionSourceError, ImageError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.models.held import require_unchanged
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import ComparisonDataset, Recipe
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.merit import weighted_score
from synthvlm_dagster.scores.naming import reduced_size, scorer_name
from synthvlm_dagster.store.chunks import quarantine_damaged, write_chunk
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import Storage

if TYPE_CHECKING:
    import torch

SUMMARY = "dataset/references"
"""One row per dataset of the recipe's `comparisons`."""
SUMMARY_SCHEMA = pl.Schema(
    {
        "name": pl.String,
        "scorer": pl.String,
        "pairs": pl.Int64,
        "unreadable": pl.Int64,
        "clip_score": pl.Float64,
        "ssim": pl.Float64,
        "weighted_score": pl.Float64,
        "problem": pl.String,
        "table": pl.String,
    }
)
SUMMARY_COLUMNS = {
    "name": "The dataset's name in the recipe.",
    "scorer": "What measured it: the scorer of the generated images.",
    "pairs": "Pairs measured.",
    "unreadable": "Pairs of the sample whose image could not be read or measured.",
    "clip_score": "Mean cosine of image and prefixed caption, each clipped at 0: in [0, 1].",
    "ssim": "Mean similarity of the images with themselves after the round trip: in [-1, 1].",
    "weighted_score": "clip_score + ssim_weight · ssim.",
    "problem": "Why the dataset could not be measured, or the commonest reason why images could not; else null.",
    "table": "Where the pairs' scores are in the store.",
}
SCORES_SCHEMA = pl.Schema(
    {
        "image_id": pl.String(),
        "text": pl.String(),
        "image_uri": pl.String(),
        "clip_score": pl.Float64(),
        "ssim": pl.Float64(),
        "embedding": pl.List(pl.Float32),
        "problem": pl.String(),
        "picture": pl.String(),
    }
)
"""picture is the state of the image's file before it was measured, see `picture_states`."""

_TABLE_CODE = 2
"""Version of the tables of pairs; another one is another folder."""
_PAIRS_PER_CHUNK = 256


def measure_references(
    recipe: Recipe,
    storage: Storage,
    made_from: MadeFrom | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> pl.DataFrame:
    """Measure a seeded sample of every dataset in the recipe's `comparisons`, and write and return their summary.

    What the store holds is not measured again; images that could not be read are tried again. A dataset whose files
    cannot be read has its reason in `problem`: it stops neither the others nor the report.

    Returns:
        `SUMMARY_SCHEMA`, in the recipe's order.

    Raises:
        ModelError: the CLIP model cannot be loaded, or its files are changed meanwhile.
        StorageError: the store cannot be written.
    """
    scorer, name = ClipScorer(recipe.scoring.clip, recipe.scoring.device), scorer_name(recipe)
    rows = []
    for dataset in recipe.comparisons:
        facts: dict[str, object] = {"name": dataset.name, "scorer": name}
        try:
            facts |= _measure_dataset(recipe, storage, dataset, scorer, name, on_progress)
        except CaptionSourceError as error:
            on_progress(f"comparison {dataset.name} is left out: {error}")
            facts |= {"pairs": 0, "unreadable": 0, "problem": str(error)}
        rows.append(facts)
    summary = pl.DataFrame(rows, SUMMARY_SCHEMA)
    summary = summary.with_columns(weighted_score(recipe.selection.ssim_weight)).select(*SUMMARY_SCHEMA)
    if made_from:
        made_from = with_pictures(made_from, pictures_of_references(recipe, storage, measured=True))
    storage.write_table(SUMMARY, summary, made_from)
    return summary


def pictures_of_references(recipe: Recipe, storage: Storage, *, measured: bool = False) -> dict[str, str]:
    """Of each comparison's sample, as far as it has been looked at, a digest of what is known of its images.

    Args:
        recipe: names the comparisons.
        storage: the store.
        measured: as they were when they were measured, in place of as they are now.
    """
    found = {}
    for dataset in recipe.comparisons:
        try:
            table = _table(recipe, dataset)
        except CaptionSourceError:
            continue
        rows = _stored(storage, table).bottom_k(dataset.sample, by="image_id")
        states = rows["picture"] if measured else picture_states(rows["image_uri"])
        found[dataset.name] = digest_of_pictures(rows["image_uri"], states)
    return found


def with_pictures(made_from: MadeFrom, pictures: Mapping[str, str]) -> MadeFrom:
    """The record of the comparisons' scores with digests of their images, by comparison."""
    contents = {f"comparisons.{name}.images": f"images#{digest}" for name, digest in pictures.items()}
    return made_from.model_copy(update={"contents": made_from.contents | contents})


def read_summary(recipe: Recipe, storage: Storage) -> pl.DataFrame:
    """The summary of what the recipe's scorer measured of the datasets that the recipe still names."""
    if not recipe.comparisons or not storage.has_table(SUMMARY):
        return pl.DataFrame(schema=SUMMARY_SCHEMA)
    named = [dataset.name for dataset in recipe.comparisons]
    summary = storage.scan(SUMMARY).collect()
    return summary.filter(pl.col("name").is_in(named) & (pl.col("scorer") == scorer_name(recipe)))


def read_reference(storage: Storage, table: str, sample: int) -> pl.DataFrame:
    """The measured pairs of one dataset: `SCORES_SCHEMA` without `problem` and `picture`, in order of image_id.

    Args:
        storage: the store.
        table: of the dataset, see `read_summary`.
        sample: the recipe's; a larger one may have been measured before.
    """
    # The sample is what comes first by image_id, images that could not be measured included.
    rows = _stored(storage, table).bottom_k(sample, by="image_id")
    return rows.filter(pl.col("problem").is_null()).drop("problem", "picture").sort("image_id")


def reference_sample(
    dataset: ComparisonDataset, seed: int, on_progress: Callable[[str], None] = lambda _: None
) -> pl.DataFrame:
    """A seeded choice of a dataset's rows that have a caption and an image: image_id, text, image_uri.

    The same rows whatever their order and files; all of them when there are fewer than `sample`.

    Raises:
        CaptionSourceError: the files cannot be read, or no row has both.
    """
    chosen = pl.DataFrame(schema={"image_id": pl.String, "text": pl.String, "image_uri": pl.String})
    for part in read_captions([dataset], on_progress=on_progress):
        pairs = part.filter(pl.col("problem").is_null() & pl.col("image_uri").is_not_null()).select("text", "image_uri")
        ids = [_pair_id(text, uri, seed) for text, uri in pairs.iter_rows()]
        found = pairs.select(pl.Series("image_id", ids, pl.String), "text", "image_uri")
        chosen = pl.concat([chosen, found]).unique("image_id").bottom_k(dataset.sample, by="image_id")
    if chosen.is_empty():
        raise CaptionSourceError(
            f"comparison {dataset.name}: {dataset.path}: no caption has an image. Name the column of the images "
            "(columns: {image: …}), or compare with a dataset that has them"
        )
    return chosen.sort("image_id")


def reduced_side(width: int, height: int, recipe: Recipe) -> int:
    """Side of SSIM's small square for an image of another size than the generated ones, in pixels.

    It keeps the ratio of the size in effect for the generated images to their shorter side (336 to 1024 in the paper),
    so that as much detail is lost, and scores of small and large images can be compared.
    """
    ratio = reduced_size(recipe) / min(recipe.generation.width, recipe.generation.height)
    shorter = min(width, height)
    return min(max(1, round(ratio * shorter)), shorter)


def _measure_dataset(
    recipe: Recipe,
    storage: Storage,
    dataset: ComparisonDataset,
    scorer: ClipScorer,
    name: str,
    on_progress: Callable[[str], None],
) -> dict[str, object]:
    table = _table(recipe, dataset)
    sample = reference_sample(dataset, recipe.seed, on_progress)
    quarantine_damaged(storage, table, lambda message: on_progress(f"comparison {dataset.name}: {message}"))
    sample = sample.with_columns(picture_states(sample["image_uri"]))
    known = _stored(storage, table).filter(pl.col("problem").is_null())
    measured = known.join(sample, on=["image_id", "picture"], how="semi")
    missing = sample.join(measured, on="image_id", how="anti", maintain_order="left")
    if not missing.is_empty():
        scorer.load()
        require_unchanged(recipe.scoring.clip.model, name, scorer_name(recipe))
        _measure_pairs(recipe, storage, table, missing, scorer, on_progress)
    # Sorted: the last digit of a mean depends on the order in which it is added up.
    found = _stored(storage, table).join(sample, on="image_id", how="semi").sort("image_id")
    good, bad = found.filter(pl.col("problem").is_null()), found.filter(pl.col("problem").is_not_null())
    commonest = bad["problem"].value_counts(sort=True).sort("count", "problem", descending=[True, False])
    return {
        "pairs": good.height,
        "unreadable": sample.height - good.height,
        "clip_score": good["clip_score"].mean(),
        "ssim": good["ssim"].mean(),
        "problem": _explained(commonest["problem"][0], commonest["count"][0], good.height) if bad.height else None,
        "table": table,
    }


def _explained(problem: str, count: int, measured: int) -> str:
    remedy = "" if measured else ". Correct the comparison's image_root, or its column of images"
    return f"{'once' if count == 1 else f'{count:,} times'} the image {problem}{remedy}"


def _measure_pairs(
    recipe: Recipe,
    storage: Storage,
    table: str,
    pairs: pl.DataFrame,
    scorer: ClipScorer,
    on_progress: Callable[[str], None],
) -> None:
    from synthvlm_dagster.scores.ssim import resize_ssim

    def prepare(image: np.ndarray) -> tuple[torch.Tensor, float]:
        height, width = image.shape[:2]
        size = reduced_side(width, height, recipe)
        try:
            similarity = resize_ssim(image, size=size, channels=ssim.channels, window=ssim.window)
        except ImageError as error:
            raise ImageError(f"cannot be measured: {error}") from error
        return scorer.prepare(image), similarity

    ssim = recipe.scoring.ssim
    waiting: list[pl.DataFrame] = []
    done = 0
    with Progress("pairs of a comparison measured", on_progress, pairs.height) as progress:
        for opened in OriginalImages().open_all(pairs, prepare, recipe.scoring.batch_size):
            waiting.append(_measured(opened, scorer))
            done += opened.captions.height
            if done == pairs.height or sum(frame.height for frame in waiting) >= _PAIRS_PER_CHUNK:
                write_chunk(storage, table, pl.concat(waiting))
                waiting = []
            progress.report(done)


def _measured(opened: Opened[tuple[torch.Tensor, float]], scorer: ClipScorer) -> pl.DataFrame:
    good: dict[str, int] = {}
    inputs: list[torch.Tensor] = []
    similarities: list[float] = []
    problems: dict[str, str] = {}
    for uri, image in opened.images.items():
        if isinstance(image, ImageError):
            problems[uri] = str(image)
        else:
            good[uri] = len(inputs)
            inputs.append(image[0])
            similarities.append(image[1])
    pairs = opened.captions
    shown = pairs.filter(pl.col("image_uri").is_in(list(good)))
    rows = pairs.join(shown, on="image_id", how="anti", maintain_order="left")
    failed = rows.with_columns(problem=pl.col("image_uri").replace_strict(problems, return_dtype=pl.String))
    missing = [pl.lit(None, SCORES_SCHEMA[name]).alias(name) for name in ("clip_score", "ssim", "embedding")]
    failed = failed.with_columns(missing).select(*SCORES_SCHEMA)
    if shown.is_empty():
        return failed
    of_pair = [good[uri] for uri in shown["image_uri"]]
    scores, embeddings = scorer.score([inputs[place] for place in of_pair], shown["text"].to_list())
    problem_of_score = [None if finite else "gets no finite CLIPScore" for finite in np.isfinite(scores)]
    scored = shown.with_columns(
        pl.Series("clip_score", scores, pl.Float64),
        pl.Series("ssim", [similarities[place] for place in of_pair], pl.Float64),
        pl.Series("embedding", embeddings.astype(np.float32).tolist(), SCORES_SCHEMA["embedding"]),
        pl.Series("problem", problem_of_score, pl.String),
    )
    return pl.concat([scored.select(*SCORES_SCHEMA), failed])


def _stored(storage: Storage, table: str) -> pl.DataFrame:
    """What the store holds of a table, each pair once: of its image as it is now, and scores rather than a problem."""
    if not storage.has_table(table):
        return pl.DataFrame(schema=SCORES_SCHEMA)
    rows = storage.scan(table).collect()
    is_of_now = rows["picture"] == picture_states(rows["image_uri"])
    order = [is_of_now.not_(), rows["problem"].is_not_null()]
    return rows.sort(order, maintain_order=True).unique("image_id", keep="first")


def _table(recipe: Recipe, dataset: ComparisonDataset) -> str:
    """The folder of a dataset's scores. More pairs of the same dataset come into the same one."""
    files = source_version([dataset.model_copy(update={"sample": 1})])
    generated = min(recipe.generation.width, recipe.generation.height)
    # Pairs are chosen, and known, by the places of their images.
    measured = fingerprint(_TABLE_CODE, files, image_folder(dataset), scorer_name(recipe), generated, recipe.seed)
    return f"scores/references/{dataset.name}-{measured}"


def _pair_id(text: str, uri: str, seed: int) -> str:
    key = seed.to_bytes(8, "big")
    return hashlib.blake2b(f"{text}\0{uri}".encode(), digest_size=8, key=key).hexdigest()
