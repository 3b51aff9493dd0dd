"""Rows of JSON objects (or any dicts), by the names of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from synthvlm_dagster.captions.rows import MISSING, Row, each_caption
from synthvlm_dagster.recipe import SourceColumns


def object_rows(items: Iterable[tuple[Any, str | None]], columns: SourceColumns) -> Iterator[Row]:
    """One row per object, or several where its text is a list of captions.

    Args:
        items: the object and None, or anything and the problem that it has.
        columns: fields that hold the text and what belongs to it.
    """
    # A column that the source does not name is None, which is no field of any object.
    text, image, similarity, watermark, nsfw = (
        columns.text,
        columns.image,
        columns.clip_similarity,
        columns.watermark_score,
        columns.nsfw_score,
    )
    for number, (item, problem) in enumerate(items):
        if isinstance(item, dict):
            field = item.get
            row = Row(number, field(text, MISSING), field(image), field(similarity), field(watermark), field(nsfw))
            if isinstance(row.text, list):
                yield from each_caption(row, text)
            else:
                yield row
        else:
            yield Row(number, problem=problem or "the item is not a JSON object")
