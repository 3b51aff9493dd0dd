"""Parquet tables."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.parquet_tables import read_parquet_table
from synthvlm_dagster.captions.parsing.web_tables import PLAIN
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource


def read_parquet(file: SourceFile, source: CaptionSource) -> Frames:
    """A parquet table with the columns that the source's `columns` name."""
    return read_parquet_table(file, source, PLAIN)


FORMAT = Format(
    name="parquet",
    layout="any other parquet table, of which the column `caption` is read unless you name others",
    read=read_parquet,
    detect=lambda sample, _: sample.kind == "parquet",
    is_text=False,
)
