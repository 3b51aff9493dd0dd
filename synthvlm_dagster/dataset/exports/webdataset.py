"""WebDataset tar files of the selected pairs: KEY.jpg (or png, webp), KEY.txt and KEY.json side by side.

Layout: https://github.com/webdataset/webdataset. The files are plain tar archives, written with the standard library:
the webdataset package loads torch when it is imported.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.dataset.exports.export import Export, OnProgress, Verdict, Written, export_settings, say_nothing
from synthvlm_dagster.markdown import shortened
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.exports import WebDatasetExport as WebDatasetSettings

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.dataset.exports.pictures import ExportedPicture
    from synthvlm_dagster.store.storage import Storage

FOLDER = "dataset/webdataset"

COLUMNS = {
    "__key__": ("string", "image_id of the pair: the name of its files before the first dot."),
    "jpg, png or webp": ("bytes", "The image file."),
    "txt": ("string", "The caption."),
    "json": ("object", "Scores, seed, and how the image was made."),
}
"""Type and description of a sample's parts."""


def write_webdataset(recipe: Recipe, storage: Storage, on_progress: OnProgress = say_nothing) -> Written:
    """Write the selected pairs as `00000.tar`, `00001.tar` … of `exports.webdataset.pairs_per_tar` samples each.

    A sample's key is its image_id; `txt` is the caption, `json` the scores and everything that is known of the image.
    Samples stand in the order of the store, which is by caption hash and so as good as shuffled. Equal pairs from an
    equal store give equal bytes. The old export stands until the new one is whole.

    Raises:
        StorageError: an image is missing, or the folder cannot be written.
    """
    from synthvlm_dagster.dataset.pairs import SELECTED, with_images
    from synthvlm_dagster.images.table import image_suffix

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
    return Written(selected.height, total_bytes, sample, COLUMNS, {"tar_files": tars})


def verify_webdataset(recipe: Recipe, storage: Storage, on_progress: OnProgress = say_nothing) -> Verdict:
    """Compare every file in the tar files with its selected pair, and every image with the store's.

    Raises:
        StorageError: there is no selection, or the store cannot be read.
    """
    import polars as pl

    from synthvlm_dagster.dataset.exports.pictures import PICTURE, expected_pairs, picture_faults
    from synthvlm_dagster.images.table import image_suffix

    suffix = image_suffix(recipe)
    expected = expected_pairs(recipe, storage, on_progress=on_progress)
    found = _Found(suffix, dict(expected.select("image_id", pl.struct("text", PICTURE)).iter_rows()))
    pictures = chain.from_iterable(_read_tar(storage, path, found, expected) for path in storage.files(FOLDER, ".tar"))
    faults = list(picture_faults(recipe, pictures, expected.height, on_progress=on_progress))
    wanted = {f"{image_id}.{part}" for image_id in found.pairs for part in (suffix, "txt", "json")}
    repeated = {name for name, count in found.names.items() if count > 1}
    return Verdict(
        missing=sorted(wanted - found.names.keys()),
        unexpected=sorted((found.names.keys() - wanted) | repeated),
        unreadable=sorted([*found.cut, *(fault.place for fault in faults if fault.reason is None)]),
        wrong_facts=sorted(found.wrong),
        wrong_pictures=sorted(f"{fault.place} {fault.reason}" for fault in faults if fault.reason),
    )


@dataclass
class _Found:
    """What is found in the tar files, beside the pictures.

    Attributes:
        suffix: of the pictures.
        pairs: text and digest of the picture of each selected pair.
        names: of the members, and how often each comes.
        wrong: what is not its pair's.
        cut: tar files that are not whole.
    """

    suffix: str
    pairs: dict[str, dict[str, Any]]
    names: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


def _read_tar(storage: Storage, path: str, found: _Found, expected: pl.DataFrame) -> Iterator[ExportedPicture]:
    """The pictures of a tar file, one after another, while everything else in it is compared."""
    import polars as pl

    from synthvlm_dagster.dataset.exports.facts import wrong_facts
    from synthvlm_dagster.dataset.exports.pictures import PICTURE, ExportedPicture

    facts: list[dict[str, Any]] = []
    try:
        with storage.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                found.names[member.name] += 1
                image_id, _, part = member.name.partition(".")
                pair, content = found.pairs.get(image_id), tar.extractfile(member)
                if pair is None or content is None:
                    continue
                place = f"{path}/{member.name}"
                if part == found.suffix:
                    yield ExportedPicture(place, content.read(), image_id, pair["text"], pair[PICTURE])
                elif part == "txt" and (text := content.read().decode(errors="replace")) != pair["text"]:
                    found.wrong.append(f"{place} is {shortened(text)!r} in place of {shortened(pair['text'])!r}")
                elif part == "json":
                    facts += _facts(content.read(), image_id, expected, place, found.wrong)
    except (OSError, tarfile.TarError) as error:
        found.cut.append(f"{path} (not a whole tar file: {error})")
    rows = pl.DataFrame(facts, schema=expected.drop(PICTURE).schema, strict=False)
    found.wrong += wrong_facts(rows, expected, lambda image_id: f"{path}/{image_id}.json")


def _facts(content: bytes, image_id: str, expected: pl.DataFrame, place: str, wrong: list[str]) -> list[dict[str, Any]]:
    """A sample's facts, if they can be read as such."""
    from synthvlm_dagster.dataset.exports.pictures import PICTURE

    try:
        facts = json.loads(content)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or facts.keys() != {*expected.columns} - {PICTURE}:
        wrong.append(f"{place} has not the facts of a pair")
        return []
    if facts["image_id"] != image_id:
        wrong.append(f"{place} has the facts of {shortened(str(facts['image_id']))}")
        return []
    return [facts]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


EXPORT = Export(
    name="webdataset",
    asset="webdataset",
    label="dataset as WebDataset",
    description="""The selected pairs as WebDataset tar files.

One sample is one selected pair: KEY.jpg (or png, webp), KEY.txt with the caption, KEY.json with scores and origin.""",
    checked="""The tar files have image, caption and facts of every selected pair once and no more, and each image is
its pair's: it decodes, says so in its mark, and is the store's.""",
    kinds=frozenset({"webdataset", "file"}),
    code=2,
    settings=lambda recipe: export_settings(recipe, "webdataset"),
    write=write_webdataset,
    verify=verify_webdataset,
)
