"""Tab-separated values."""

from __future__ import annotations

from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.delimited import read_tsv
from synthvlm_dagster.captions.parsing.format_errors import FormatError
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.recipe import CaptionSource


def _is_tsv(sample: Sample, _: CaptionSource) -> bool:
    """Columns of no published layout."""
    if sample.has_tabs and sample.kind == "txt":
        raise FormatError(
            "the first line has tabs, so that the file may be a table",
            "Set format: tsv (its columns are named by the first line, or by header: false and column_names), or "
            "format: txt if every line is a caption, tabs and all",
        )
    return sample.has_tabs


FORMAT = Format(
    name="tsv",
    layout="tab-separated values, of which the column `caption` is read unless you name others",
    read=read_tsv,
    detect=_is_tsv,
)
