"""Images that no recipe plans any more, and what was measured of them: of captions that left, or of fewer attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.dataset.made_from import Origins
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.operations.garbage.find import Garbage
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.chunks import read_columns, shard_of, write_chunk
from synthvlm_dagster.store.storage import NAMED_BY_CONTENT, Storage, StoredFile

UNPLANNED = "of images that are not planned any more"
MIXED = "also holds images that are not planned any more; is written again without them"

_OF_IMAGES = ("images", "failed_images", "scores", "embeddings")
_OF_IMAGE = ["image_id", "shard"]


def why_plan_is_unknown(storage: Storage, recipes: Sequence[Recipe]) -> str | None:
    """Why the plan that stands is not that of all recipes, so that no image can be called unplanned; None if it is.

    Args:
        storage: the store.
        recipes: all that store there.
    """
    for recipe in recipes:
        origins = Origins(recipe, storage)
        for asset in ("raw_captions", "curated_captions", "planned_attempts"):
            try:
                reason = origins.why_outdated(asset)
            # Caption files, a word list or a model that cannot be read.
            except SynthVLMError as error:
                reason = str(error)
            if reason:
                return f"{recipe.name}: {asset}: {reason}"
    return None


def find_unplanned(storage: Storage, files: Iterable[StoredFile], recipes: Sequence[Recipe]) -> list[Garbage]:
    """Chunks of images, scores and embeddings that hold images which no recipe plans.

    A chunk of such images alone is deleted; one that holds others too is written again without them. The images of the
    selected pairs stay, and those of generators that no recipe names, which `find_garbage` looks after.

    Args:
        storage: the store.
        files: of the store, as `Storage.every_file` lists them.
        recipes: all that store there, of whose plan the one that stands is; see `why_plan_is_unknown`.

    Raises:
        StorageError: the store cannot be read.
    """
    planned = _planned(storage, recipes)
    whole: dict[str, list[StoredFile]] = {}
    mixed: list[Garbage] = []
    for file in files:
        parts = file.path.split("/")
        if parts[0] not in _OF_IMAGES or parts[1] not in planned or not NAMED_BY_CONTENT.search(f"/{file.path}"):
            continue
        held = _images_in(storage, file.path)
        if held is None:
            continue
        kept = held.join(planned[parts[1]], on=_OF_IMAGE, how="semi").height
        if not kept:
            whole.setdefault(file.path.rpartition("/")[0], []).append(file)
        elif kept < held.height:
            mixed.append(Garbage(file.path, MIXED, (file,)))
    gone = [Garbage(folder, UNPLANNED, tuple(found)) for folder, found in whole.items()]
    return sorted([*gone, *mixed], key=lambda thing: (thing.path.split("/")[0] == "images", thing.path))


def delete_unplanned(storage: Storage, garbage: Iterable[Garbage], recipes: Sequence[Recipe]) -> Iterator[Garbage]:
    """Delete what `find_unplanned` has found; killed at any moment, it leaves a sound store, and goes on next time.

    A chunk that is gone meanwhile is passed over.

    Yields:
        Each thing when it is gone, or has been written again.

    Raises:
        StorageError: a file cannot be read, written or deleted.
    """
    things = list(garbage)
    planned = _planned(storage, recipes) if things else {}
    for thing in things:
        if thing.reason == MIXED:
            if not storage.exists(thing.path):
                continue
            rest = storage.scan_files([thing.path]).collect()
            generator, shard = thing.path.split("/")[1], shard_of(thing.path)
            kept = planned[generator].filter(pl.col("shard") == shard).select("image_id")
            # First what stays: until the old file is gone, images stand twice, and count once.
            write_chunk(
                storage,
                thing.path.rpartition("/")[0],
                rest.join(kept, on="image_id", how="semi", maintain_order="left"),
            )
        for file in thing.files:
            storage.delete(file.path)
        if thing.reason == UNPLANNED:
            storage.delete_empty_folders(thing.path)
        yield thing


def _planned(storage: Storage, recipes: Sequence[Recipe]) -> dict[str, pl.DataFrame]:
    """image_id and shard of what some recipe plans, or the selected pairs show, by name of the generator."""
    plans: dict[str, list[pl.DataFrame]] = {}
    for recipe in recipes:
        plans.setdefault(generator_name(recipe), []).append(read_plan(recipe, storage).select(_OF_IMAGE))
    selected = storage.table_made_from(SELECTED)
    if selected is not None and selected.generator in plans:
        plans[selected.generator].append(storage.scan(SELECTED).select(_OF_IMAGE).collect())
    return {generator: pl.concat(rows).unique() for generator, rows in plans.items()}


def _images_in(storage: Storage, path: str) -> pl.DataFrame | None:
    """image_id and shard of what a chunk holds; None where it is damaged, or not of images."""
    ids = read_columns(storage, path, ["image_id"])
    return None if ids is None else ids.with_columns(shard=pl.lit(shard_of(path)))
