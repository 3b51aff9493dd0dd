"""JSON files that hold their captions in lists: LLaVA's, SynthVLM's, COCO's, SBU's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames, require_columns, shape
from synthvlm_dagster.captions.formats.json_stream import json_items, json_outline, json_start
from synthvlm_dagster.captions.formats.lines import parsed_lines
from synthvlm_dagster.captions.formats.objects import object_rows
from synthvlm_dagster.captions.formats.text import lines
from synthvlm_dagster.captions.rows import MISSING, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

# Items looked at before a field that none of them has shows that the file is in another layout.
_PEEKED = 1000


class _Unusable(NamedTuple):
    """Stands for a line that holds no item."""

    problem: str


def read_llava(file: SourceFile, _: CaptionSource) -> Frames:
    """LLaVA's training layout: a JSON list of `{id, image, conversations: [{from, value}]}`, or one such object a line.

    Every turn of `gpt` is a caption; an item may have no image.
    """
    if json_start(file) == "{":
        with file.open() as stream:
            items = (_Unusable(problem) if problem else item for item, problem in parsed_lines(lines(stream)))
            yield from to_frames(_llava_rows(_require_field(items, "conversations", "llava")), "the gpt value")
    else:
        yield from to_frames(_llava_rows(_list_with(file, "conversations", "llava")), "the gpt value")


def read_synthvlm(file: SourceFile, source: CaptionSource) -> Frames:
    """The official SynthVLM input: a JSON list of `{id, caption}`, or of objects with the fields of `columns`."""
    columns = source.columns or SourceColumns(image="image")
    items = _list_with(file, columns.text, "synthvlm", source.columns or SourceColumns())
    return to_frames(object_rows(((item, None) for item in items), columns), columns.text)


def read_coco(file: SourceFile, _: CaptionSource) -> Frames:
    """COCO captions: a JSON object with `images: [{id, file_name}]` and `annotations: [{image_id, id, caption}]`.

    The images' names are held in memory; the annotations, which may stand before them, are not.
    """
    _require_start(file, "{", "coco")
    names = {
        image["id"]: image.get("file_name")
        for image in json_items(file, "images.item")
        if isinstance(image, dict) and isinstance(image.get("id"), int | str)
    }
    annotations = _require_field(json_items(file, "annotations.item"), "caption", "coco")
    first = next(annotations, None)
    if first is None:
        _require_lists(file, "coco", "annotations")
        return
    yield from to_frames(_coco_rows(chain([first], annotations), names), "caption")


def read_sbu(file: SourceFile, _: CaptionSource) -> Frames:
    """SBU Captions: a JSON object with the parallel lists `image_urls` and `captions` (and `user_ids`)."""
    _require_start(file, "{", "sbu")
    return to_frames(_sbu_rows(file), "the caption")


def _llava_rows(items: Iterator[Any]) -> Iterator[Row]:
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            yield Row(number, problem=item.problem if isinstance(item, _Unusable) else "the item is not a JSON object")
            continue
        turns = item.get("conversations")
        if not isinstance(turns, list):
            yield Row(number, problem="conversations is missing or not a list")
            continue
        values = [turn.get("value", MISSING) for turn in turns if isinstance(turn, dict) and turn.get("from") == "gpt"]
        if not values:
            yield Row(number, problem="conversations has no turn of gpt")
        for value in values:
            yield Row(number, value, item.get("image"))


def _coco_rows(annotations: Iterator[Any], names: dict[Any, Any]) -> Iterator[Row]:
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict):
            image_id = annotation.get("image_id")
            name = names.get(image_id) if isinstance(image_id, int | str) else None
            yield Row(number, annotation.get("caption", MISSING), name)
        else:
            yield Row(number, problem="the annotation is not a JSON object")


def _sbu_rows(file: SourceFile) -> Iterator[Row]:
    pairs = zip_longest(json_items(file, "captions.item"), json_items(file, "image_urls.item"), fillvalue=MISSING)
    number = -1
    for number, (caption, url) in enumerate(pairs):
        if caption is MISSING or url is MISSING:
            _require_lists(file, "sbu", "captions", "image_urls")
            longer = number + 1 + sum(1 for _ in pairs)
            captions, urls = (number, longer) if caption is MISSING else (longer, number)
            raise FormatError(
                f"captions has {captions:,} items and image_urls {urls:,} (format sbu): the lists must be parallel"
            )
        yield Row(number, caption, url)
    if number < 0:
        _require_lists(file, "sbu", "captions", "image_urls")


def _list_with(file: SourceFile, field: str, layout: str, columns: SourceColumns | None = None) -> Iterator[Any]:
    """The items of a file that is a list, of which some have the field, and the columns that the source names."""
    _require_start(file, "[", layout)
    return _require_field(json_items(file, "item"), field, layout, columns)


def _require_field(
    items: Iterator[Any], field: str, layout: str, columns: SourceColumns | None = None
) -> Iterator[Any]:
    peeked = list(islice(items, _PEEKED))
    objects = [item for item in peeked if isinstance(item, dict)]
    if columns and objects:
        require_columns(columns, sorted({name for item in objects for name in item}))
    if peeked and not any(field in item for item in objects):
        raise FormatError(f"no item has the field {field} (format {layout}); the first is {shape(peeked[0])}")
    return chain(peeked, items)


def _require_start(file: SourceFile, sign: str, layout: str) -> None:
    """Tell a list from an object before a large file is read in vain."""
    found = json_start(file)
    if found != sign:
        kinds = {"[": "a JSON list", "{": "a JSON object"}
        raise FormatError(f"{kinds[sign]} is expected (format {layout}), found {kinds.get(found, found or 'nothing')}")


def _require_lists(file: SourceFile, layout: str, *fields: str) -> None:
    outline = json_outline(file)
    for field in fields:
        if outline.get(field) != "start_array":
            raise FormatError(
                f"a JSON object with a list `{field}` is expected (format {layout}), found {shape(outline)}"
            )
