"""DataComp's CommonPool and DataComp-1B (https://huggingface.co/datasets/mlfoundations/datacomp_1b)."""

from __future__ import annotations

from synthvlm_dagster.captions.format import published_table
from synthvlm_dagster.captions.parsing.web_tables import WebTable
from synthvlm_dagster.recipe import SourceColumns

DATACOMP = WebTable(
    SourceColumns(text="text", image="url", clip_similarity="clip_b32_similarity_score"),
    marks=frozenset({"uid", "text", "url", "clip_b32_similarity_score"}),
)


FORMAT = published_table(
    "datacomp", DATACOMP, layout="parquet tables of DataComp's CommonPool and DataComp-1B, with their similarity"
)
