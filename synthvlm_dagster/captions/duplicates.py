"""When two captions count as the same."""

from __future__ import annotations

import unicodedata

import polars as pl


def normalized(texts: pl.Series) -> pl.Series:
    """Texts after folding what does not make another caption: compatibility forms, case, punctuation and spaces.

    Args:
        texts: String, without nulls.

    Returns:
        Each text after NFKC and case folding, without invisible format characters, each run of punctuation and space
        as one space. A text of which nothing is left stays as it is: `!!!` and `...` are not the same.
    """
    folded = pl.Series([unicodedata.normalize("NFKC", text).casefold() for text in texts], dtype=pl.String)
    bare = (
        folded.str.normalize("NFKC")
        .str.replace_all(r"\p{Cf}", "")
        .str.replace_all(r"[\p{P}\p{Z}\p{Cc}]+", " ")
        .str.strip_chars(" ")
    )
    return pl.select(pl.when(bare == "").then(texts).otherwise(bare)).to_series().alias("normalized")
