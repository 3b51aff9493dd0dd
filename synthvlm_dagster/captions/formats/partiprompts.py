"""PartiPrompts."""

from __future__ import annotations

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.delimited import names_columns, read_tsv
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.rows import Frames
from synthvlm_dagster.recipe import CaptionSource, SourceColumns

_COLUMNS = SourceColumns(text="Prompt")


def read_partiprompts(file: SourceFile, source: CaptionSource) -> Frames:
    """PartiPrompts: tab-separated with the columns Prompt, Category, Challenge, Note."""
    return read_tsv(file, source.model_copy(update={"columns": source.columns or _COLUMNS, "header": True}))


def _is_partiprompts(sample: Sample, source: CaptionSource) -> bool:
    """A header with Prompt, unless the source names another column of it."""
    if not sample.has_tabs or b"Prompt" not in sample.fields:
        return False
    if names_columns(source):
        return source.header and (source.columns is None or source.columns.text.encode() not in sample.fields)
    return True


FORMAT = Format(
    name="partiprompts",
    layout="TSV with `Prompt`",
    read=read_partiprompts,
    detect=_is_partiprompts,
)
