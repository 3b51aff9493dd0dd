"""Conceptual Captions 3M."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.delimited import CC3M_COLUMNS, is_conceptual, read_conceptual
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource


def read_cc3m(file: SourceFile, source: CaptionSource) -> Frames:
    """Conceptual Captions 3M: tab-separated caption and url.

    It is published without a line of column names; the line that img2dataset's guide adds is one where it stands.
    """
    return read_conceptual(file, source, CC3M_COLUMNS)


FORMAT = Format(
    name="cc3m",
    layout="Conceptual Captions 3M: TSV of caption and URL; with img2dataset's header or, as published, without",
    read=read_cc3m,
    detect=lambda sample, source: is_conceptual(sample, source, CC3M_COLUMNS, [False, True]),
)
