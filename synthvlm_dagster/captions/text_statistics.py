"""What the text rules measure on a caption, exactly as Data-Juicer 1.6's operators do.

SynthVLM filtered its captions with Data-Juicer (arXiv 2407.20756, supplementary material, Table 1), so its thresholds
only mean something on Data-Juicer's own statistics. All lengths are code points; an empty text measures 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from synthvlm_dagster.captions.character_classes import character_classes, lower_case
from synthvlm_dagster.captions.flagged_words import default_flagged_words
from synthvlm_dagster.recipe.rule import CAPTION_PLACE

if TYPE_CHECKING:
    from synthvlm_dagster.captions.kernels import WordTable

NGRAM = 10

STATISTICS = {
    "alnum_ratio": "Letters and digits (`str.isalnum`) / code points, in [0, 1].",
    "special_char_ratio": "Punctuation, digits, whitespace, emoji and symbols / code points, in [0, 1].",
    "char_rep_ratio": f"Share of the most repeated character {NGRAM}-grams, in [0, 1].",
    "word_rep_ratio": f"Share of the word {NGRAM}-grams that occur more than once, in [0, 1].",
    "flagged_words_ratio": "Words on the flagged-words list / words, in [0, 1].",
    "text_length": "Length in code points.",
    "num_words": "Number of words.",
}
SCHEMA = pl.Schema({name: pl.Int64 if name in ("text_length", "num_words") else pl.Float64 for name in STATISTICS})

_BATCH = 50_000


def measure_captions(
    texts: Sequence[str] | pl.Series,
    template: str | None = None,
    *,
    flagged_words: Collection[str] | None = None,
    bare_lengths: bool = False,
) -> pl.DataFrame:
    """Measure every text rule's statistic, on as many cores as polars uses (`POLARS_MAX_THREADS`).

    The first call after an installation compiles for some seconds.

    Args:
        texts: captions, none of them null: a list, an array, or a column of strings of polars, pandas or Arrow.
        template: text that holds `{caption}`; each caption is put into it before it is measured. Data-Juicer measured
            `<image>\\n{caption} <|__dj__eoc|>`. None: the bare caption.
        flagged_words: lower-case words; None: the built-in English list.
        bare_lengths: `text_length` and `num_words` describe the caption itself, without the template.

    Returns:
        One row per text, in order, with the columns of `STATISTICS`.

    Raises:
        ValueError: the template has no place for the caption, or a text is null.
        TypeError: the texts are not strings, or no list of them.
    """
    template = CAPTION_PLACE if template is None else template
    if CAPTION_PLACE not in template:
        raise ValueError(
            f"the template {template!r} does not contain {CAPTION_PLACE}, the place where the caption goes"
        )
    flagged = _word_table(default_flagged_words() if flagged_words is None else flagged_words)
    column = _column(texts)
    batches = [column.slice(start, _BATCH) for start in range(0, len(column), _BATCH)]
    measure = partial(_measure_batch, template=template, flagged=flagged, bare_lengths=bare_lengths)
    if len(batches) <= 1:
        frames = [measure(batch) for batch in batches]
    else:
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            frames = list(pool.map(measure, batches))
    return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)


def _measure_batch(texts: pl.Series, template: str, flagged: WordTable, bare_lengths: bool) -> pl.DataFrame:
    from synthvlm_dagster.captions.kernels import Characters, Measured, Template, measure_texts

    utf8, offsets = _utf8(texts)
    statistics = {
        name: np.empty(len(texts), float if kind == pl.Float64 else np.int64) for name, kind in SCHEMA.items()
    }
    measured = Measured(**statistics, irregular=np.empty(len(texts), bool))
    measure_texts(
        utf8,
        offsets,
        Template(*_joined(template.split(CAPTION_PLACE))),
        NGRAM,
        bare_lengths,
        Characters(character_classes(), lower_case()),
        flagged,
        measured,
    )
    rows = np.flatnonzero(measured.irregular)
    if rows.size:
        wrapped = [template.replace(CAPTION_PLACE, _text(utf8[offsets[row] : offsets[row + 1]])) for row in rows]
        again = _measure_batch(_column([text.lower() for text in wrapped]), CAPTION_PLACE, flagged, bare_lengths)
        for name in ("word_rep_ratio", "flagged_words_ratio"):
            statistics[name][rows] = again[name]
    return pl.DataFrame(statistics, schema=SCHEMA)


def _word_table(words: Collection[str]) -> WordTable:
    from synthvlm_dagster.captions.kernels import word_table

    return word_table(*_joined(sorted(set(words))))


def _column(texts: Sequence[str] | pl.Series) -> pl.Series:
    """The texts as one column of String; of Binary, if one holds what String cannot."""
    if isinstance(texts, str) or not isinstance(texts, Sized):
        raise TypeError(f"texts is of type {type(texts).__name__}: measure a list or a column of strings instead")
    if isinstance(texts, pl.Series):
        if texts.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            raise TypeError(f"texts is a column of {texts.dtype}: measure a column of String instead")
        column = texts.cast(pl.String)
    else:
        try:
            column = pl.Series(texts, dtype=pl.String)
        except UnicodeEncodeError:
            # Half a surrogate pair, which is a code point to Python but has no place in a column of strings.
            encoded = [None if text is None else text.encode("utf-8", "surrogatepass") for text in texts]
            column = pl.Series(encoded, dtype=pl.Binary)
    if column.null_count():
        raise ValueError("a text is null: measure texts.drop_nulls() instead")
    return column


def _utf8(texts: pl.Series) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of all texts, and where each begins in them; the last entry is the end."""
    column = texts.to_arrow()
    _, offsets, data = column.buffers()
    utf8 = np.frombuffer(data or b"", np.uint8)
    return utf8, np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]


def _text(utf8: NDArray[np.uint8]) -> str:
    return utf8.tobytes().decode("utf-8", "surrogatepass")


def _joined(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of all texts, and where each ends in them."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, np.cumsum([len(text) for text in texts], dtype=np.int64)
