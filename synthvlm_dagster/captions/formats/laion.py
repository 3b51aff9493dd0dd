"""LAION-400M and LAION-5B's parts; the first releases tell unsafe images by a word, NSFW, which is no score."""

from __future__ import annotations

from synthvlm_dagster.captions.format import published_table
from synthvlm_dagster.captions.parsing.web_tables import WebTable
from synthvlm_dagster.recipe import SourceColumns

LAION = WebTable(
    SourceColumns(
        text="TEXT",
        image="URL",
        clip_similarity="similarity",
        watermark_score="pwatermark",
        nsfw_score="punsafe",
    ),
    marks=frozenset({"TEXT", "URL"}),
)


FORMAT = published_table(
    "laion",
    LAION,
    layout="parquet tables of LAION-400M and LAION-5B, with their similarity, watermark and safety scores",
)
