"""JSON files that hold a list of captions: LLaVA's, SynthVLM's, COCO's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.formats.base import FormatError, Frames, shape
from synthvlm_dagster.captions.formats.objects import object_rows
from synthvlm_dagster.captions.formats.text import text_stream
from synthvlm_dagster.captions.rows import MISSING, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns


def read_llava(file: SourceFile, _: CaptionSource) -> Frames:
    """LLaVA's training layout: a JSON list of `{id, image, conversations: [{from, value}]}`.

    Every turn of `gpt` is a caption; an item may have no image.
    """
    items = _list_of_objects(_json(file), "conversations", "llava")
    return to_frames(_llava_rows(items), "the gpt value")


def read_synthvlm(file: SourceFile, _: CaptionSource) -> Frames:
    """The official SynthVLM input: a JSON list of `{id, caption}`."""
    items = _list_of_objects(_json(file), "caption", "synthvlm")
    return to_frames(object_rows(((item, None) for item in items), SourceColumns(image="image")), "caption")


def read_coco(file: SourceFile, _: CaptionSource) -> Frames:
    """COCO captions: a JSON object with `images: [{id, file_name}]` and `annotations: [{image_id, id, caption}]`."""
    content = _json(file)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise FormatError(f"a JSON object with a list `annotations` is expected (format coco), found {shape(content)}")
    _list_of_objects(annotations, "caption", "coco")
    images = content.get("images")
    names = {
        image.get("id"): image.get("file_name")
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and isinstance(image.get("id"), int | str)
    }
    return to_frames(_coco_rows(annotations, names), "caption")


def _llava_rows(items: list[Any]) -> Iterator[Row]:
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            yield Row(number, problem="the item is not a JSON object")
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


def _coco_rows(annotations: list[Any], names: dict[Any, Any]) -> Iterator[Row]:
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict):
            image_id = annotation.get("image_id")
            name = names.get(image_id) if isinstance(image_id, int | str) else None
            yield Row(number, annotation.get("caption", MISSING), name)
        else:
            yield Row(number, problem="the annotation is not a JSON object")


def _list_of_objects(content: Any, field: str, layout: str) -> list[Any]:
    if not isinstance(content, list):
        raise FormatError(f"a JSON list is expected (format {layout}), found {shape(content)}")
    if content and not any(isinstance(item, dict) and field in item for item in content):
        raise FormatError(f"no item has the field {field} (format {layout}); the first is {shape(content[0])}")
    return content


def _json(file: SourceFile) -> Any:
    try:
        with file.open() as stream:
            return json.loads(text_stream(stream, newline="\n").read())
    except json.JSONDecodeError as error:
        raise FormatError(f"line {error.lineno}, column {error.colno} is not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise FormatError("the JSON is nested too deeply") from error
