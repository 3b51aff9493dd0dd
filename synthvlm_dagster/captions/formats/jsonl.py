"""One JSON object a line."""

from __future__ import annotations

from itertools import chain, islice

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.format_errors import FormatError, require_columns
from synthvlm_dagster.captions.parsing.json_lines import parsed_lines
from synthvlm_dagster.captions.parsing.objects import object_rows
from synthvlm_dagster.captions.parsing.text import lines
from synthvlm_dagster.captions.rows import Frames, to_frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

# Lines looked at before a field that none of them has counts as a wrong name.
_PEEKED = 1000


def read_jsonl(file: SourceFile, source: CaptionSource) -> Frames:
    """One JSON object a line, with the fields that the source's `columns` name."""
    columns = source.columns or SourceColumns()
    with file.open() as stream:
        parsed = parsed_lines(lines(stream))
        peeked = list(islice(parsed, _PEEKED))
        objects = [item for item, _ in peeked if isinstance(item, dict)]
        if peeked and not objects:
            problem = peeked[0][1] or "it is not a JSON object"
            raise FormatError(f"one JSON object a line is expected; of line 1: {problem}")
        require_columns(columns, sorted({field for item in objects for field in item}))
        yield from to_frames(object_rows(chain(peeked, parsed), columns), columns.text)


FORMAT = Format(
    name="jsonl",
    layout="one JSON object a line, of which the field `caption` is read unless you name others",
    read=read_jsonl,
    detect=lambda sample, _: sample.kind == "json lines" or sample.first_object is not None,
)
