"""Plain text."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.text import lines
from synthvlm_dagster.captions.rows import Frames, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource


def read_txt(file: SourceFile, _: CaptionSource) -> Frames:
    """One caption a line."""
    with file.open() as stream:
        yield from to_frames((Row(number, line) for number, line in enumerate(lines(stream))), "the line")


FORMAT = Format(
    name="txt",
    layout="one caption a line",
    read=read_txt,
    detect=lambda sample, _: sample.kind == "txt" and b"\t" not in sample.first_line,
)
