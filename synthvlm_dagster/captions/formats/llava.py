"""LLaVA's training layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.json_lines import parsed_lines
from synthvlm_dagster.captions.parsing.json_lists import items_with, require_field
from synthvlm_dagster.captions.parsing.json_stream import json_start
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.parsing.text import lines
from synthvlm_dagster.captions.rows import MISSING, Frames, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource


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
            yield from to_frames(_llava_rows(require_field(items, "conversations", "llava")), "the gpt value")
    else:
        yield from to_frames(_llava_rows(items_with(file, "conversations", "llava")), "the gpt value")


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


def _is_llava(sample: Sample, source: CaptionSource) -> bool:
    """Objects with conversations; of a list, an object's first telling field decides."""
    if sample.kind == "json list":
        conversations = sample.start.find(b'"conversations"')
        caption = sample.start.find(json.dumps(source.columns.text if source.columns else "caption").encode())
        return conversations >= 0 and (caption < 0 or conversations < caption)
    item = sample.first_object
    return item is not None and isinstance(item.get("conversations"), list) and "caption" not in item


FORMAT = Format(
    name="llava",
    layout="JSON list of `{id, image, conversations}`, or one a line: every answer of `gpt` (LLaVA-Pretrain 558K, "
    "mix665k)",
    read=read_llava,
    detect=_is_llava,
)
