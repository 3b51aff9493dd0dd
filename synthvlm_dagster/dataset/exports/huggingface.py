"""A dataset folder for the Hugging Face hub: parquet files, a dataset card and Croissant metadata.

`datasets.load_dataset(folder)` reads it as it is, from a disk or the hub: the parquet files carry their features in
their schema, and the header of README.md names them. Row groups have at most 100 rows, as the datasets library writes
tables with images, so that the hub's viewer fetches few images for a page.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from synthvlm_dagster.dataset.exports.card import CARD
from synthvlm_dagster.dataset.exports.croissant import croissant, sha256
from synthvlm_dagster.dataset.exports.image_opens import images_that_do_not_open
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.table import IMAGE_DESCRIPTIONS, IMAGE_SCHEMA
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.exports import HuggingFaceExport as HuggingFaceSettings
from synthvlm_dagster.store.storage import Storage

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

FOLDER = "dataset/huggingface"
README = "README.md"
CROISSANT = "croissant.json"

_ROWS_PER_GROUP = 100
_BYTES_PER_GROUP = 100_000_000
_NOT_EXPORTED = ("shard",)
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_HEADER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@dataclass(frozen=True)
class HuggingFaceExport:
    """What was written.

    Attributes:
        pairs: number of rows.
        files: number of parquet files.
        bytes: size of all files.
        sample: the first row without its image; None when nothing was selected.
        columns: type and description, by name.
    """

    pairs: int
    files: int
    bytes: int
    sample: dict[str, Any] | None
    columns: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class HuggingFaceVerdict:
    """How an export differs from the selected pairs; every field is sorted and empty when all is well.

    Attributes:
        missing: image_ids that were selected and have no row.
        unexpected: image_ids of rows that were not selected, or that come twice.
        unreadable: image_ids of rows whose image does not decode.
        misdescribed: what the README's header or croissant.json says that the parquet files do not hold.
    """

    missing: list[str]
    unexpected: list[str]
    unreadable: list[str]
    misdescribed: list[str]

    @property
    def passed(self) -> bool:
        """Whether the export holds exactly the selected pairs, each with an image that opens, and says so."""
        return not (self.missing or self.unexpected or self.unreadable or self.misdescribed)


def write_huggingface(
    recipe: Recipe, storage: Storage, on_progress: Callable[[str], None] = lambda _: None
) -> HuggingFaceExport:
    """Write the selected pairs as `data/train-00000-of-000NN.parquet` with README.md and croissant.json.

    A row is a pair: image, caption, image_id, its scores and everything that is known of how the image was made. Rows
    stand in the order of the store, which is by caption hash and so as good as shuffled. Equal pairs from an equal
    store give equal parquet files. Without any pair there is one parquet file without rows, which the datasets library
    reads as a stream only. The old export stands until the new one is whole.

    Raises:
        StorageError: the card or an image is missing, or the folder cannot be written.
    """
    selected = storage.scan(SELECTED).collect()
    if not storage.exists(CARD):
        raise StorageError(f"{storage.url(CARD)}: there is no card yet; materialize dataset_card first")
    card = storage.read_bytes(CARD).decode()
    schema = _arrow_schema(selected.schema)
    settings = recipe.exports.huggingface or HuggingFaceSettings()
    with storage.replaced_folder(FOLDER, last=[CROISSANT, README]) as folder:
        (folder / "data").mkdir()
        batches = with_images(recipe, storage, selected, on_progress)
        tables = (_table(rows, schema) for rows in _row_groups(batches))
        written = _write_files(tables, folder / "data", schema, settings.megabytes_per_file * 1_000_000)
        sizes = [file.stat().st_size for file in written.files]
        header = _header(recipe, schema, pairs=written.rows, num_bytes=written.num_bytes, download_size=sum(sizes))
        readme = f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n{card}"
        descriptions = _descriptions(schema)
        description = croissant(recipe, folder, schema, descriptions, written.rows)
        texts = {README: readme, CROISSANT: _for_html(json.dumps(description, indent=2, ensure_ascii=False)) + "\n"}
        for name, text in texts.items():
            sizes.append((folder / name).write_bytes(text.encode()))
    columns = {name: (_kind(schema, name), text) for name, text in descriptions.items()}
    return HuggingFaceExport(written.rows, len(written.files), sum(sizes), written.sample, columns)


def verify_huggingface(storage: Storage) -> HuggingFaceVerdict:
    """Compare the export with the selected pairs, decode every image, and compare what describes it with its files.

    Raises:
        StorageError: the export or the selection is not there, or a parquet file is damaged.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    selected = set(storage.scan(SELECTED).select("image_id").collect()["image_id"])
    paths = storage.files(f"{FOLDER}/data", ".parquet")
    found: Counter[str] = Counter()
    unreadable: list[str] = []
    columns: list[str] = []
    for path in paths:
        try:
            with storage.open(path) as stream:
                file = ParquetFile(stream)
                columns = file.schema_arrow.names
                found.update(file.read(["image_id"])["image_id"].to_pylist())
                unreadable += images_that_do_not_open(_images(file))
        except (OSError, KeyError, pyarrow.ArrowException) as error:
            raise StorageError(
                f"{storage.url(path)}: is not a whole parquet file of pairs: {error}. Materialize huggingface_dataset "
                "again"
            ) from error
    repeated = {image_id for image_id, count in found.items() if count > 1}
    return HuggingFaceVerdict(
        missing=sorted(selected - found.keys()),
        unexpected=sorted((found.keys() - selected) | repeated),
        unreadable=sorted(unreadable),
        misdescribed=[*_readme_faults(storage, columns, found.total()), *_croissant_faults(storage, columns, paths)],
    )


def _for_html(document: str) -> str:
    """The same JSON as sites may put it into a page: no tag, comment or end of a line of script begins in a string."""
    return document.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def _images(file: ParquetFile) -> Iterator[tuple[str, bytes | None]]:
    for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP, columns=["image_id", "image"]):
        yield from ((row["image_id"], (row["image"] or {}).get("bytes")) for row in batch.to_pylist())


def _readme_faults(storage: Storage, columns: list[str], rows: int) -> list[str]:
    matched = _HEADER.match(storage.read_bytes(f"{FOLDER}/{README}").decode(errors="replace"))
    try:
        header: Any = yaml.safe_load(matched[1]) if matched else None
        info = header["dataset_info"]
        described = [feature["name"] for feature in info["features"]]
        counted = sum(split["num_examples"] for split in info["splits"])
        synthetic = "synthetic" in header["tags"]
    except (yaml.YAMLError, LookupError, TypeError):
        return [f"the header of {README}"]
    said = {"columns": described == columns, "number of pairs": counted == rows, "synthetic tag": synthetic}
    return [f"the {name} in {README}" for name, true in said.items() if not true]


def _croissant_faults(storage: Storage, columns: list[str], paths: list[str]) -> list[str]:
    try:
        document = json.loads(storage.read_bytes(f"{FOLDER}/{CROISSANT}"))
        digests = {entry["contentUrl"]: entry["sha256"] for entry in document["distribution"] if "contentUrl" in entry}
        fields = [field["name"] for field in document["recordSet"][0]["field"]]
    except (ValueError, LookupError, TypeError):
        return [CROISSANT]
    actual = {}
    for path in paths:
        with storage.open(path) as stream:
            actual[path.removeprefix(f"{FOLDER}/")] = sha256(stream)
    faults = [
        f"{name} in {CROISSANT}" for name in sorted(actual.keys() | digests) if actual.get(name) != digests.get(name)
    ]
    return faults + ([] if fields == columns else [f"the fields in {CROISSANT}"])


def _row_groups(batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in frames of 100, or fewer where images are large, for one row group each."""
    waiting: list[pl.DataFrame] = []
    rows = size = 0
    for batch in batches:
        for piece in batch.iter_slices(1):
            content = len(piece["image"][0]["bytes"] or b"")
            if rows == _ROWS_PER_GROUP or (rows and size + content > _BYTES_PER_GROUP):
                yield pl.concat(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(piece)
            rows, size = rows + 1, size + content
    if waiting:
        yield pl.concat(waiting)


@dataclass
class _Written:
    files: list[Path]
    rows: int
    num_bytes: int
    sample: dict[str, Any] | None


def _write_files(tables: Iterator[pyarrow.Table], folder: Path, schema: pyarrow.Schema, limit: float) -> _Written:
    """Write tables, one row group each, into files that end when they reach the limit; at least one file."""
    from pyarrow.parquet import ParquetWriter

    files: list[Path] = []
    rows = num_bytes = 0
    sample = None
    table = next(tables, None)
    while table is not None or not files:
        files.append(folder / f"{len(files)}.parquet")
        with (
            files[-1].open("wb") as stream,
            ParquetWriter(
                stream,
                schema,
                # The images are compressed already.
                compression={
                    "image.bytes": "none",
                    **{name: "zstd" for name in _leaves(schema) if name != "image.bytes"},
                },
                use_dictionary=[name for name in schema.names if name != "image"],
                write_page_index=True,
            ) as writer,
        ):
            while table is not None and stream.tell() < limit:
                writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
                rows, num_bytes = rows + table.num_rows, num_bytes + table.nbytes
                sample = sample or table.drop(["image"]).slice(0, 1).to_pylist()[0]
                table = next(tables, None)
    renamed = [
        file.rename(folder / f"train-{number:05d}-of-{len(files):05d}.parquet") for number, file in enumerate(files)
    ]
    return _Written(renamed, rows, num_bytes, sample)


def _arrow_schema(selected: pl.Schema) -> pyarrow.Schema:
    """Columns of the export, with the features that the datasets library reads from the schema's metadata."""
    import pyarrow

    kinds = {
        pl.String(): pyarrow.string(),
        pl.Boolean(): pyarrow.bool_(),
        pl.Int32(): pyarrow.int32(),
        pl.Int64(): pyarrow.int64(),
        pl.UInt32(): pyarrow.int64(),
        pl.Float32(): pyarrow.float32(),
        pl.Float64(): pyarrow.float64(),
    }
    columns = {**selected, **{name: kind for name, kind in IMAGE_SCHEMA.items() if name not in selected}}
    fields = [
        pyarrow.field("image", pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})),
        pyarrow.field("caption", pyarrow.string()),
        *(
            pyarrow.field(name, kinds[kind])
            for name, kind in columns.items()
            if name not in ("text", "image", *_NOT_EXPORTED) and kind in kinds
        ),
    ]
    schema = pyarrow.schema(fields)
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": _dtype(schema, name), "_type": "Value"}
        for name in schema.names
    }
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _dtype(schema: pyarrow.Schema, name: str) -> str:
    """What the datasets library calls the type of a column; Arrow's own name but for these two."""
    kind = str(schema.field(name).type)
    return {"double": "float64", "float": "float32"}.get(kind, kind)


def _kind(schema: pyarrow.Schema, name: str) -> str:
    return "image" if name == "image" else _dtype(schema, name)


def _leaves(schema: pyarrow.Schema) -> list[str]:
    return ["image.bytes", "image.path", *(name for name in schema.names if name != "image")]


def _table(rows: pl.DataFrame, schema: pyarrow.Schema) -> pyarrow.Table:
    named = rows.rename({"text": "caption"}).select(schema.names)
    return named.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _descriptions(schema: pyarrow.Schema) -> dict[str, str]:
    known = {**IMAGE_DESCRIPTIONS, **SELECTED_COLUMNS, "caption": "The caption that the image was made from."}
    return {name: known.get(name, name) for name in schema.names}


def _header(
    recipe: Recipe, schema: pyarrow.Schema, *, pairs: int, num_bytes: int, download_size: int
) -> dict[str, Any]:
    """What the hub reads of a card: https://huggingface.co/docs/hub/datasets-cards."""
    return {
        "pretty_name": recipe.name,
        "license": recipe.exports.licence or "unknown",
        "task_categories": ["image-to-text", "text-to-image"],
        "tags": ["synthetic", "image-captioning", "synthvlm"],
        "size_categories": [next((name for limit, name in _SIZES if pairs < limit), "10M<n<100M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
        "dataset_info": {
            "features": [{"name": name, "dtype": _kind(schema, name)} for name in schema.names],
            "splits": [{"name": "train", "num_bytes": num_bytes, "num_examples": pairs}],
            "download_size": download_size,
            "dataset_size": num_bytes,
        },
    }
