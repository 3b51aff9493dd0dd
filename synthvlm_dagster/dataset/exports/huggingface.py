"""A dataset folder for the Hugging Face hub: parquet files, a dataset card and Croissant metadata.

`datasets.load_dataset(folder)` reads it as it is, from a disk or the hub: the parquet files carry their features in
their schema, and the header of README.md names them. Row groups have at most 100 rows, as the datasets library writes
tables with images, so that the hub's viewer fetches few images for a page.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from synthvlm_dagster.dataset.exports.export import Export, OnProgress, Verdict, Written, export_settings, say_nothing
from synthvlm_dagster.dataset.settings import source_name
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.licences import licence_statement
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.exports import HuggingFaceExport as HuggingFaceSettings
from synthvlm_dagster.recipe.plain import plain_settings

if TYPE_CHECKING:
    import polars as pl
    import pyarrow

    from synthvlm_dagster.dataset.exports.pictures import ExportedPicture
    from synthvlm_dagster.store.storage import Storage

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


def write_huggingface(recipe: Recipe, storage: Storage, on_progress: OnProgress = say_nothing) -> Written:
    """Write the selected pairs as `data/train-00000-of-000NN.parquet` with README.md and croissant.json.

    A row is a pair: image, caption, image_id, its scores and everything that is known of how the image was made. Rows
    stand in the order of the store, which is by caption hash and so as good as shuffled. Equal pairs from an equal
    store give equal parquet files. Without any pair there is one parquet file without rows, which the datasets library
    reads as a stream only. The old export stands until the new one is whole.

    Raises:
        StorageError: the card or an image is missing, or the folder cannot be written.
    """
    from synthvlm_dagster.dataset.exports.card import CARD
    from synthvlm_dagster.dataset.exports.croissant import croissant
    from synthvlm_dagster.dataset.made_with import recipe_as_made
    from synthvlm_dagster.dataset.pairs import SELECTED, with_images

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
        description = croissant(recipe_as_made(recipe, storage), folder, schema, descriptions, written.rows)
        texts = {README: readme, CROISSANT: _for_html(json.dumps(description, indent=2, ensure_ascii=False)) + "\n"}
        for name, text in texts.items():
            sizes.append((folder / name).write_bytes(text.encode()))
    columns = {name: (_kind(schema, name), text) for name, text in descriptions.items()}
    return Written(written.rows, sum(sizes), written.sample, columns, {"parquet_files": len(written.files)})


def verify_huggingface(recipe: Recipe, storage: Storage, on_progress: OnProgress = say_nothing) -> Verdict:
    """Compare every row with its selected pair, every image with the store's, and what describes them with the files.

    Raises:
        StorageError: there is no selection, or the store cannot be read.
    """
    import polars as pl

    from synthvlm_dagster.dataset.exports.pictures import PICTURE, expected_pairs, picture_faults

    expected = expected_pairs(recipe, storage, on_progress=on_progress).rename({"text": "caption"})
    paths = storage.files(f"{FOLDER}/data", ".parquet")
    found = _Found(dict(expected.select("image_id", pl.struct("caption", PICTURE)).iter_rows()))
    exported = expected.drop(_NOT_EXPORTED)
    pictures = chain.from_iterable(_read_file(storage, path, found, exported) for path in paths)
    faults = list(picture_faults(recipe, pictures, expected.height, on_progress=on_progress))
    repeated = {image_id for image_id, count in found.image_ids.items() if count > 1}
    described = [] if found.cut else _misdescribed(storage, found.columns, found.image_ids.total(), paths)
    return Verdict(
        missing=sorted(found.pairs.keys() - found.image_ids.keys()),
        unexpected=sorted((found.image_ids.keys() - found.pairs.keys()) | repeated),
        unreadable=sorted([*found.cut, *(fault.place for fault in faults if fault.reason is None)]),
        misdescribed=described,
        wrong_facts=sorted(found.wrong),
        wrong_pictures=sorted(f"{fault.place} {fault.reason}" for fault in faults if fault.reason),
    )


@dataclass
class _Found:
    """What is found in the parquet files, beside the pictures.

    Attributes:
        pairs: caption and digest of the picture of each selected pair.
        image_ids: of the rows, and how often each comes.
        columns: of the files.
        wrong: what is not its pair's.
        cut: files that are not whole.
    """

    pairs: dict[str, dict[str, Any]]
    image_ids: Counter[str] = field(default_factory=Counter)
    columns: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


def _read_file(storage: Storage, path: str, found: _Found, expected: pl.DataFrame) -> Iterator[ExportedPicture]:
    """The pictures of a parquet file, one after another, while everything else in it is compared."""
    import polars as pl
    import pyarrow
    from pyarrow.parquet import ParquetFile

    from synthvlm_dagster.dataset.exports.facts import wrong_facts
    from synthvlm_dagster.dataset.exports.pictures import PICTURE, ExportedPicture

    try:
        with storage.open(path) as stream:
            file = ParquetFile(stream)
            found.columns = file.schema_arrow.names
            if lacking := {*expected.columns, "image"} - {PICTURE, *found.columns}:
                found.cut.append(f"{path} (without the columns {', '.join(sorted(lacking))})")
                return
            for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
                rows = pl.DataFrame(pyarrow.Table.from_batches([batch.drop_columns(["image"])]))
                image_ids = rows["image_id"].to_list()
                found.image_ids.update(image_ids)
                found.wrong += wrong_facts(rows, expected, lambda image_id: f"{path}, row {image_id}")
                for image_id, image in zip(image_ids, batch.column("image").to_pylist(), strict=True):
                    if pair := found.pairs.get(image_id):
                        content = (image or {}).get("bytes")
                        place = f"{path}, row {image_id}"
                        yield ExportedPicture(place, content, image_id, pair["caption"], pair[PICTURE])
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        found.cut.append(f"{path} (not a whole parquet file of pairs: {error})")


def _misdescribed(storage: Storage, columns: list[str], rows: int, paths: list[str]) -> list[str]:
    absent = [name for name in (README, CROISSANT) if not storage.exists(f"{FOLDER}/{name}")]
    if absent:
        return absent
    return [*_readme_faults(storage, columns, rows), *_croissant_faults(storage, columns, paths)]


def _for_html(document: str) -> str:
    """The same JSON as sites may put it into a page: no tag, comment or end of a line of script begins in a string."""
    return document.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


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
    from synthvlm_dagster.dataset.exports.croissant import sha256

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
    import polars as pl

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
            while table is not None:
                writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
                rows, num_bytes = rows + table.num_rows, num_bytes + table.nbytes
                sample = sample or table.drop(["image"]).slice(0, 1).to_pylist()[0]
                table = next(tables, None)
                # Asked after a table, so that no file is without one, however small the limit.
                if stream.tell() >= limit:
                    break
    renamed = [
        file.rename(folder / f"train-{number:05d}-of-{len(files):05d}.parquet") for number, file in enumerate(files)
    ]
    return _Written(renamed, rows, num_bytes, sample)


def _arrow_schema(selected: pl.Schema) -> pyarrow.Schema:
    """Columns of the export, with the features that the datasets library reads from the schema's metadata."""
    import polars as pl
    import pyarrow

    from synthvlm_dagster.images.table import IMAGE_SCHEMA

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
    import polars as pl

    named = rows.rename({"text": "caption"}).select(schema.names)
    return named.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _descriptions(schema: pyarrow.Schema) -> dict[str, str]:
    from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS
    from synthvlm_dagster.images.table import IMAGE_DESCRIPTIONS

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


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What the header and Croissant tell beside what is known by the content of the card."""
    return {
        "name": recipe.name,
        "description": recipe.description,
        **export_settings(recipe, "licence", "creator", "url", "published", "huggingface"),
        "generation": {"licence": licence_statement(recipe.generation)},
        "selection": plain_settings(recipe.selection),
        "sources": [source_name(source) for source in recipe.sources],
    }


EXPORT = Export(
    name="huggingface",
    asset="huggingface_dataset",
    label="dataset for Hugging Face",
    description="""The selected pairs as a Hugging Face dataset folder: parquet with images, card, Croissant metadata.

One row is one selected pair: image, caption, image_id, scores and how the image was made.""",
    checked="""The parquet files have exactly the selected pairs with their scores, and each image is its pair's: it
decodes, says so in its mark, and is the store's. README and Croissant describe them.""",
    kinds=frozenset({"huggingface", "parquet"}),
    code=2,
    made_of=("selected_pairs", "dataset_card"),
    settings=_settings,
    write=write_huggingface,
    verify=verify_huggingface,
)
