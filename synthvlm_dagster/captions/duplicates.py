"""When two captions count as the same."""

from __future__ import annotations

import unicodedata

import polars as pl

# Runs of ASCII punctuation (Unicode's P, so not $+<=>^`|~), spaces and control characters that are not one space
# already: nearly all of them are, and leaving those alone is what makes this quick.
_BREAK = r"\x00-\x1f\x7f!-#%-*,-/:;?@\[-\]_{}"
_ASCII_RUN = rf" ?[{_BREAK}][ {_BREAK}]*| {{2}}[ {_BREAK}]*"


def normalized(texts: pl.Series) -> pl.Series:
    """Texts after folding what does not make another caption: compatibility forms, case, punctuation and spaces.

    Args:
        texts: String, without nulls.

    Returns:
        Each text after NFKC and case folding, without invisible format characters, each run of punctuation and space
        as one space. A text of which nothing is left stays as it is: `!!!` and `...` are not the same.
    """
    ascii_only = texts.str.len_bytes() == texts.str.len_chars()
    bare = texts.str.to_lowercase().str.replace_all(_ASCII_RUN, " ")
    if not ascii_only.all():
        other = (~ascii_only).arg_true()
        bare = bare.scatter(other, _folded(texts.gather(other)))
    bare = bare.str.strip_chars(" ")
    return pl.select(pl.when(bare == "").then(texts).otherwise(bare)).to_series().alias("normalized")


def duplicate_keys(texts: pl.Series) -> pl.Series:
    """One number per caption, equal for captions that are the same.

    Eight bytes a caption are kept where its text would be, so two captions can share a number by chance: the odds that
    any two of n do are n² / 2⁶⁵, 3 in a million for 10 million captions. The numbers hold within one process; another
    version of polars may give others.

    Args:
        texts: String, without nulls.

    Returns:
        UInt64, the hash of each `normalized` text.
    """
    return normalized(texts).hash().alias("duplicate_key")


def _folded(texts: pl.Series) -> pl.Series:
    folded = pl.Series([unicodedata.normalize("NFKC", text).casefold() for text in texts], dtype=pl.String)
    return folded.str.normalize("NFKC").str.replace_all(r"\p{Cf}", "").str.replace_all(r"[\p{P}\p{Z}\p{Cc}]+", " ")
