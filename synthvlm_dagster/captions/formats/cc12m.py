"""Conceptual 12M."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.delimited import CC12M_COLUMNS, is_conceptual, read_conceptual
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource


def read_cc12m(file: SourceFile, source: CaptionSource) -> Frames:
    """Conceptual 12M: tab-separated url and caption; as `read_cc3m`."""
    return read_conceptual(file, source, CC12M_COLUMNS)


FORMAT = Format(
    name="cc12m",
    layout="Conceptual 12M: TSV of URL and caption; with img2dataset's header or, as published, without",
    read=read_cc12m,
    detect=lambda sample, source: is_conceptual(sample, source, CC12M_COLUMNS, [True, False]),
)
