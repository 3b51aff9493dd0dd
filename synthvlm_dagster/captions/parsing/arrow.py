"""Rows out of Arrow record batches: whole columns at a time, the bad values with their problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_dagster.captions.parsing.web_tables import Selection
from synthvlm_dagster.captions.rows import CONTROL_CHARACTERS, ROW_SCHEMA

# The empty text and every text that str.isspace() holds for: it counts four separators that \s does not.
_BLANK = r"^[\s\x1c-\x1f]*$"
_FRAME_ROWS = 50_000
_BYTES_OF = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
_NUMBER_COLUMNS = ("clip_similarity", "watermark_score", "nsfw_score")


def read_batches(batches: Iterable[pa.RecordBatch], selection: Selection) -> Iterator[pl.DataFrame]:
    """Frames with the columns of `ROW_SCHEMA`, of at most 50,000 rows.

    A list in the text column gives one row for each of its items, all with the batch row's number; a list of the same
    length in another column gives each of them its own value. Numbers and images that cannot be used become null.

    Args:
        batches: hold every column of the selection. The image column may be a struct with a field `path`, as a Hugging
            Face Image is.
        selection: where the values are. Its candidates are lists of captions, one of which is the text: its CLIP
            similarity stands at the same place of the list in the similarity column.
    """
    number = 0
    for batch in batches:
        yield from _frame(batch, number, selection).iter_slices(_FRAME_ROWS)
        number += batch.num_rows


def is_image(kind: pa.DataType) -> bool:
    """Whether a column has the layout of a Hugging Face Image: a struct of bytes and path."""
    return pa.types.is_struct(kind) and kind.get_field_index("path") >= 0


def without_image_bytes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A copy with the path alone for each image.

    Columns as they come out of an arrow file share one piece of memory, so that any of them keeps the images there.

    Raises:
        pyarrow.ArrowInvalid: a column points outside its memory; to work with it would end the process.
    """
    columns = []
    for column in batch.columns:
        # Valid UTF-8 is another question, which is asked of each row.
        column.view(_as_bytes(column.type)).validate(full=True)
        columns.append(_without_views(pc.struct_field(column, "path") if is_image(column.type) else column))
    return pa.record_batch(columns, names=batch.schema.names).take(pa.array(np.arange(batch.num_rows)))


def _frame(batch: pa.RecordBatch, first: int, selection: Selection) -> pl.DataFrame:
    columns, candidates = selection.columns, selection.candidates
    arrays = {
        field: _plain(batch.column(name))
        for field in ("text", "image", *_NUMBER_COLUMNS)
        if (name := getattr(columns, field))
    }
    similarities = arrays.get("clip_similarity")
    if candidates and similarities is not None and _is_list(similarities.type):
        arrays["clip_similarity"] = _value_beside(arrays["text"], _plain(batch.column(candidates)), similarities)
    numbers = pa.array(np.arange(first, first + batch.num_rows))
    lists = arrays["text"]
    if not _is_list(lists.type):
        return _rows(numbers, arrays, columns.text)
    items = _rows(*_items(numbers, arrays), columns.text)
    is_empty = pc.fill_null(pc.equal(pc.list_value_length(lists), 0), True)
    without = {field: array.filter(is_empty) for field, array in arrays.items()}
    why = pl.Series(values=without["text"].is_null()).replace_strict({True: "null", False: "an empty list"})
    without["text"] = pa.nulls(len(why))
    bad = _rows(numbers.filter(is_empty), without, columns.text).with_columns(problem=f"{columns.text} is " + why)
    return pl.concat([items, bad]).sort("source_row", maintain_order=True)


def _items(numbers: pa.Array, arrays: dict[str, pa.Array]) -> tuple[pa.Array, dict[str, pa.Array]]:
    """Every item of the lists of texts, with the values that belong to it."""
    lists = arrays["text"]
    row_of_item = pc.list_parent_indices(lists)
    items = {
        field: _aligned(array, lists, row_of_item) if _is_list(array.type) else array.take(row_of_item)
        for field, array in arrays.items()
    }
    return numbers.take(row_of_item), items


def _aligned(values: pa.Array, lists: pa.Array, row_of_item: pa.Array) -> pa.Array:
    """The values that stand at the places of the items of `lists`; null where the two lists differ in length."""
    same = pc.fill_null(pc.equal(pc.list_value_length(values), pc.list_value_length(lists)), False)
    found = pc.list_flatten(values.filter(same))
    return _spread(found, same.take(row_of_item).to_numpy(zero_copy_only=False))


def _value_beside(texts: pa.Array, candidates: pa.Array, values: pa.Array) -> pa.Array:
    """For each text the value at its first place in the list of candidates; null where there is none."""
    if not _is_list(candidates.type) or candidates.type.value_type != texts.type:
        return pa.nulls(len(texts), pa.float64())
    row_of_item = pc.list_parent_indices(candidates)
    hit = pc.fill_null(pc.equal(pc.list_flatten(candidates), texts.take(row_of_item)), False)
    rows, first_places = np.unique(row_of_item.filter(hit).to_numpy(zero_copy_only=False), return_index=True)
    found = _aligned(values, candidates, row_of_item).filter(hit).take(pa.array(first_places))
    return _spread(found, np.isin(np.arange(len(texts)), rows))


def _spread(values: pa.Array, where: np.ndarray) -> pa.Array:
    """The values in order at the places that are true, null at the others."""
    return values.take(pa.array(np.cumsum(where) - 1, mask=~where))


def _rows(numbers: pa.Array, arrays: dict[str, pa.Array], field: str) -> pl.DataFrame:
    columns = {name: _numbers(arrays[name]) for name in _NUMBER_COLUMNS if name in arrays}
    if "image" in arrays:
        columns["image_uri"] = _uris(arrays["image"])
    given = pl.DataFrame({"source_row": pl.Series(values=numbers), **columns}).hstack(_texts(arrays["text"], field))
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in ROW_SCHEMA.items() if name not in given.columns]
    return given.with_columns(absent).select(ROW_SCHEMA.names())


def _texts(values: pa.Array, field: str) -> pl.DataFrame:
    """The columns text and problem: exactly one of them is null in every row."""
    if not _is_text(values.type):
        no_string = pl.lit(f"{field} is {_kind(values.type)}, not a string")
        return pl.DataFrame({"is_null": pl.Series(values=values.is_null())}).select(
            text=pl.lit(None, pl.String),
            problem=pl.when("is_null").then(pl.lit(f"{field} is null")).otherwise(no_string),
        )
    texts, undecodable = _decoded(values)
    problem = (
        pl.when("undecodable")
        .then(pl.lit(f"{field} is not valid UTF-8"))
        .when(pl.col("text").is_null())
        .then(pl.lit(f"{field} is null"))
        .when(pl.col("text").str.contains(_BLANK))
        .then(pl.lit(f"{field} is empty"))
        .when(pl.col("text").str.contains(CONTROL_CHARACTERS))
        .then(pl.lit(f"{field} holds a control character"))
    )
    frame = pl.DataFrame({"text": texts, "undecodable": undecodable}).select("text", problem=problem)
    return frame.with_columns(text=pl.when(pl.col("problem").is_null()).then("text"))


def _numbers(values: pa.Array) -> pl.Series:
    """Finite float64; null for what is no number, as a text may be one."""
    kind = values.type
    if _is_text(kind):
        numbers = _decoded(values)[0].str.strip_chars().cast(pl.Float64, strict=False)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pl.Series(values=values.cast(pa.float64(), safe=False))
    else:
        return pl.repeat(None, len(values), dtype=pl.Float64, eager=True)
    return numbers.to_frame("n").select(pl.when(pl.col("n").is_finite()).then("n")).to_series()


def _uris(values: pa.Array) -> pl.Series:
    if is_image(values.type):
        values = pc.struct_field(values, "path")
    if not _is_text(values.type):
        return pl.repeat(None, len(values), dtype=pl.String, eager=True)
    return _decoded(values)[0].to_frame("uri").select(pl.when(pl.col("uri") != "").then("uri")).to_series()


def _decoded(values: pa.Array) -> tuple[pl.Series, pl.Series]:
    """The texts, null where they are not valid UTF-8, and whether that is the reason: parquet does not promise it."""
    try:
        values.validate(full=True)
        texts = pl.Series(values=values.cast(pa.large_string()))
        return texts, pl.repeat(False, len(texts), dtype=pl.Boolean, eager=True)
    except pa.ArrowInvalid:
        decoded = [_text_or_none(value) for value in values.cast(pa.large_binary()).to_pylist()]
    texts = pl.Series(decoded, dtype=pl.String)
    return texts, texts.is_null() & pl.Series(values=values.is_valid())


def _text_or_none(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _without_views(array: pa.Array) -> pa.Array:
    """Texts as polars writes them, which few functions of pyarrow take, as texts that all take."""
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())
    return array.cast(pa.large_binary()) if pa.types.is_binary_view(array.type) else array


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The same layout with bytes for texts."""
    if kind in _BYTES_OF:
        return _BYTES_OF[kind]
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_as_bytes(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    return kind


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_text(kind: pa.DataType) -> bool:
    return any(
        holds(kind)
        for holds in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "a boolean"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "a number"
    if _is_list(kind):
        return "a list"
    return "an object" if pa.types.is_struct(kind) or pa.types.is_map(kind) else f"of type {kind}"
