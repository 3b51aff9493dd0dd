"""What a layout of caption files is; the layouts themselves stand in `formats`, one in each file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.parsing.parquet_tables import read_parquet_table
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.parsing.web_tables import WebTable
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource
from synthvlm_dagster.recipe.formats import FORMAT_SETTINGS

Reader = Callable[[SourceFile, CaptionSource], Frames]
"""Takes a file, which it may open more than once, and its source's settings; yields frames of `rows.ROW_SCHEMA`.

A row that it cannot use carries its problem; a file that is not in the layout at all raises FormatError.
"""


@dataclass(frozen=True)
class Format:
    """A layout of caption files.

    Attributes:
        name: as a recipe gives it; `recipe.formats` has the settings that it has use for, and its place.
        layout: what a file holds, in a few words for a table.
        read: its reader.
        detect: whether a file seems to be in it, once the layouts asked before have said no. It may raise FormatError
            where only the recipe can tell.
        is_text: whether its files hold text, which must be in UTF-8.
        table: of a parquet table that others publish, where it keeps what.
    """

    name: str
    layout: str
    read: Reader
    detect: Callable[[Sample, CaptionSource], bool]
    is_text: bool = True
    table: WebTable | None = None

    @property
    def place(self) -> int:
        """When it is asked whether a file is in it."""
        if self.name not in FORMAT_SETTINGS:
            raise ImportError(f"the format {self.name} has a file in captions/formats, but is not in recipe/formats.py")
        return list(FORMAT_SETTINGS).index(self.name)


def published_table(name: str, table: WebTable, layout: str) -> Format:
    """The format of the parquet files of a published dataset, known by their columns."""

    def read(file: SourceFile, source: CaptionSource) -> Frames:
        return read_parquet_table(file, source, table)

    def detect(sample: Sample, _: CaptionSource) -> bool:
        return sample.kind == "parquet" and table.marks <= sample.parquet_columns

    return Format(name, layout, read, detect, is_text=False, table=table)
