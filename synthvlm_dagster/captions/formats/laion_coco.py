"""LAION-COCO: captions that models wrote, the best of them in `top_caption`, beside the web's own in `TEXT`."""

from __future__ import annotations

from synthvlm_dagster.captions.format import published_table
from synthvlm_dagster.captions.formats.laion import LAION
from synthvlm_dagster.captions.parsing.web_tables import WebTable

LAION_COCO = WebTable(
    LAION.columns.model_copy(update={"text": "top_caption", "clip_similarity": "all_similarities"}),
    marks=frozenset({"URL", "top_caption", "all_captions"}),
    candidates="all_captions",
    of_another_text=LAION.columns,
)


FORMAT = published_table(
    "laion-coco",
    LAION_COCO,
    layout="LAION-COCO's parquet tables: the best of the captions that models wrote, with its similarity",
)
