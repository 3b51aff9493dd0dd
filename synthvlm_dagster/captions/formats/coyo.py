"""COYO-700M (https://huggingface.co/datasets/kakaobrain/coyo-700m)."""

from __future__ import annotations

from synthvlm_dagster.captions.format import published_table
from synthvlm_dagster.captions.parsing.web_tables import WebTable
from synthvlm_dagster.recipe import SourceColumns

COYO = WebTable(
    SourceColumns(
        text="text",
        image="url",
        clip_similarity="clip_similarity_vitb32",
        watermark_score="watermark_score",
        nsfw_score="nsfw_score_opennsfw2",
    ),
    marks=frozenset({"text", "url", "clip_similarity_vitb32"}),
)


FORMAT = published_table(
    "coyo", COYO, layout="COYO-700M's parquet tables, with their similarity, watermark and safety scores"
)
