"""WebDataset tar files of the selected pairs: KEY.jpg (or png, webp), KEY.txt and KEY.json side by side.

Layout: https://github.com/webdataset/webdataset. The files are plain tar archives, written with the standard library:
the webdataset package loads torch when it is imported.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from synthvlm_dagster.dataset.exports.image_opens import images_that_do_not_open
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.table import image_suffix
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.exports import WebDatasetExport as WebDatasetSettings
from synthvlm_dagster.store.storage import Storage

FOLDER = "dataset/webdataset"


COLUMNS = {
    "__key__": ("string", "image_id of the pair: the name of its files before the first dot."),
    "jpg, png or webp": ("bytes", "The image file."),
    "txt": ("string", "The caption."),
    "json": ("object", "Scores, seed, and how the image was made."),
}
"""Type and description of a sample's parts."""


@dataclass(frozen=True)
class WebDatasetExport:
    """What was written.

    Attributes:
        pairs: number of samples.
        tars: number of tar files.
        bytes: size of all tar files.
        sample: the `json` part of the first sample; None when nothing was selected.
    """

    pairs: int
    tars: int
    bytes: int
    sample: dict[str, Any] | None


def write_webdataset(
    recipe: Recipe, storage: Storage, on_progress: Callable[[str], None] = lambda _: None
) -> WebDatasetExport:
    """Write the selected pairs as `00000.tar`, `00001.tar` … of `exports.webdataset.pairs_per_tar` samples each.

    A sample's key is its image_id; `txt` is the caption, `json` the scores and everything that is known of the image.
    Samples stand in the order of the store, which is by caption hash and so as good as shuffled. Equal pairs from an
    equal store give equal bytes. The old export stands until the new one is whole.

    Raises:
        StorageError: an image is missing, or the folder cannot be written.
    """
    selected = storage.scan(SELECTED).collect()
    batches = with_images(recipe, storage, selected, on_progress)
    rows = chain.from_iterable(batch.iter_rows(named=True) for batch in batches)
    pairs_per_tar = (recipe.exports.webdataset or WebDatasetSettings()).pairs_per_tar
    tars, total_bytes, sample = 0, 0, None
    with storage.replaced_folder(FOLDER) as folder:
        while first := next(rows, None):
            file = folder / f"{tars:05d}.tar"
            with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
                for row in chain([first], islice(rows, pairs_per_tar - 1)):
                    content = row.pop("image")["bytes"]
                    facts = json.dumps(row, ensure_ascii=False).encode()
                    _add(tar, f"{row['image_id']}.{image_suffix(recipe)}", content)
                    _add(tar, f"{row['image_id']}.txt", row["text"].encode())
                    _add(tar, f"{row['image_id']}.json", facts)
                    sample = sample or row
            tars, total_bytes = tars + 1, total_bytes + file.stat().st_size
    return WebDatasetExport(pairs=selected.height, tars=tars, bytes=total_bytes, sample=sample)


@dataclass(frozen=True)
class WebDatasetVerdict:
    """How an export differs from the selected pairs; every field is sorted and empty when all is well.

    Attributes:
        missing: files of selected pairs, named as in the tar, that are in no tar.
        unexpected: files of the tars that belong to no selected pair, or that come twice.
        unreadable: images in the tars that do not decode.
    """

    missing: list[str]
    unexpected: list[str]
    unreadable: list[str]

    @property
    def passed(self) -> bool:
        """Whether every selected pair is there once with all its parts, and nothing else."""
        return not (self.missing or self.unexpected or self.unreadable)


def verify_webdataset(recipe: Recipe, storage: Storage) -> WebDatasetVerdict:
    """Compare the names in the tar files with the selected pairs, and decode every image.

    Raises:
        StorageError: a tar file cannot be read to its end, or there is no selection.
    """
    image_ids = storage.scan(SELECTED).select("image_id").collect()["image_id"]
    wanted = {f"{image_id}.{suffix}" for image_id in image_ids for suffix in (image_suffix(recipe), "txt", "json")}
    found: Counter[str] = Counter()
    unreadable: list[str] = []
    for path in storage.files(FOLDER, ".tar"):
        try:
            with storage.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                unreadable += images_that_do_not_open(_images(tar, image_suffix(recipe), found))
        except (OSError, tarfile.TarError) as error:
            raise StorageError(f"{storage.url(path)}: is not a whole tar file: {error}") from error
    repeated = {name for name, count in found.items() if count > 1}
    return WebDatasetVerdict(
        missing=sorted(wanted - found.keys()),
        unexpected=sorted((found.keys() - wanted) | repeated),
        unreadable=sorted(unreadable),
    )


def _images(tar: tarfile.TarFile, suffix: str, found: Counter[str]) -> Iterator[tuple[str, bytes]]:
    """The images of a tar file, while the names of all its members are counted."""
    for member in tar:
        found[member.name] += 1
        content = tar.extractfile(member)
        if content is not None and member.name.endswith(f".{suffix}"):
            yield member.name, content.read()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
