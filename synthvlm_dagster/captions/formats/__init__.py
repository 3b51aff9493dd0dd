"""The layouts that caption files come in, one in each file."""

from __future__ import annotations

from collections.abc import Collection

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.parsing.web_tables import PLAIN, WebTable
from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.recipe import CaptionSource
from synthvlm_dagster.recipe.formats import FORMAT_SETTINGS

__all__ = ["FORMATS", "detect_format", "published_table_with"]

FORMATS: dict[str, Format] = find_parts(__name__, "FORMAT")
"""By name, in the order in which they are asked whether a file is theirs."""

if without_file := FORMAT_SETTINGS.keys() - FORMATS.keys():
    raise ImportError(f"{', '.join(sorted(without_file))}: in recipe/formats.py, but with no file in captions/formats")


def detect_format(file: SourceFile, head: bytes, source: CaptionSource) -> str | None:
    """The layout of a file by its extension and, where that does not settle it, by its first bytes.

    Args:
        file: where it is; of a parquet file the columns are looked at.
        head: its beginning.
        source: its settings.

    Returns:
        A key of `FORMATS`, or None when nothing known fits.

    Raises:
        FormatError: it is no parquet file, or a .txt file that may be a table.
    """
    sample = Sample(file, head)
    return next((name for name, layout in FORMATS.items() if layout.detect(sample, source)), None)


def published_table_with(names: Collection[str]) -> WebTable:
    """The published table whose columns are all among the names of a table; `PLAIN` where there is none."""
    tables = (layout.table for layout in FORMATS.values() if layout.table)
    return next((table for table in tables if table.marks.issubset(names)), PLAIN)
