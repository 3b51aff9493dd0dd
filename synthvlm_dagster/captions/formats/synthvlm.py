"""The official SynthVLM input."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.json_lists import items_with
from synthvlm_dagster.captions.parsing.objects import object_rows
from synthvlm_dagster.captions.rows import Frames, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns


def read_synthvlm(file: SourceFile, source: CaptionSource) -> Frames:
    """The official SynthVLM input: a JSON list of `{id, caption}`, or of objects with the fields of `columns`."""
    columns = source.columns or SourceColumns(image="image")
    items = items_with(file, columns.text, "synthvlm", source.columns or SourceColumns())
    return to_frames(object_rows(((item, None) for item in items), columns), columns.text)


FORMAT = Format(
    name="synthvlm",
    layout="JSON list of `{id, caption}`, or of objects whose fields `columns` names",
    read=read_synthvlm,
    # Whatever the list holds: the reader says which fields there are.
    detect=lambda sample, _: sample.kind == "json list",
)
