"""COCO's captions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.formats.sbu import FIELDS as SBU_FIELDS
from synthvlm_dagster.captions.parsing.json_lists import require_field, require_lists, require_start
from synthvlm_dagster.captions.parsing.json_stream import json_items
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.rows import MISSING, Frames, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource

_FIELDS = {"info", "images", "annotations", "licenses", "type"}


def read_coco(file: SourceFile, _: CaptionSource) -> Frames:
    """COCO captions: a JSON object with `images: [{id, file_name}]` and `annotations: [{image_id, id, caption}]`.

    The images' names are held in memory; the annotations, which may stand before them, are not.
    """
    require_start(file, "{", "coco")
    names = {
        image["id"]: image.get("file_name")
        for image in json_items(file, "images.item")
        if isinstance(image, dict) and isinstance(image.get("id"), int | str)
    }
    annotations = require_field(json_items(file, "annotations.item"), "caption", "coco")
    first = next(annotations, None)
    if first is None:
        require_lists(file, "coco", "annotations")
        return
    yield from to_frames(_coco_rows(chain([first], annotations), names), "caption")


def _coco_rows(annotations: Iterator[Any], names: dict[Any, Any]) -> Iterator[Row]:
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict):
            image_id = annotation.get("image_id")
            name = names.get(image_id) if isinstance(image_id, int | str) else None
            yield Row(number, annotation.get("caption", MISSING), name)
        else:
            yield Row(number, problem="the annotation is not a JSON object")


def _is_coco(sample: Sample, _: CaptionSource) -> bool:
    """An object with no other fields; of one too large for a line, anything that is not SBU's."""
    item = sample.first_object
    if item is not None:
        return item.keys() <= _FIELDS
    return sample.kind == "json object" and sample.first_field not in SBU_FIELDS


FORMAT = Format(
    name="coco",
    layout="COCO captions: a JSON object with `images` and `annotations`",
    read=read_coco,
    detect=_is_coco,
)
