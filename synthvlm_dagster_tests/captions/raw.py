"""Raw caption tables made in memory."""

from collections.abc import Sequence

import polars as pl

from synthvlm_dagster.captions.readers import RAW_SCHEMA, caption_id

SHARDS = ["0000", "0001", "0002"]


def raw_table(texts: Sequence[str | None], sources: Sequence[str] | None = None) -> pl.DataFrame:
    """A table like `read_captions` gives, one row per text; a null text is an unreadable row."""
    named = sources or ["test"] * len(texts)
    return pl.DataFrame(
        {
            "caption_id": [
                caption_id(source, f"\0file\0{row}" if text is None else text)
                for row, (source, text) in enumerate(zip(named, texts, strict=True))
            ],
            "text": texts,
            "source": named,
            "source_file": ["file"] * len(texts),
            "source_row": range(len(texts)),
            "image_uri": [None] * len(texts),
            "clip_similarity": [None] * len(texts),
            "watermark_score": [None] * len(texts),
            "nsfw_score": [None] * len(texts),
            "problem": ["caption is null" if text is None else None for text in texts],
        },
        schema=RAW_SCHEMA,
    )
