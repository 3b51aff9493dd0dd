"""What the text rules measure on a caption, exactly as Data-Juicer 1.6's operators do.

SynthVLM filtered its captions with Data-Juicer (arXiv 2407.20756, supplementary material, Table 1), so its thresholds
only mean something on Data-Juicer's own statistics. All lengths are code points; an empty text measures 0.
"""

from __future__ import annotations

import importlib.resources
import math
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache

import numpy as np
import polars as pl

from synthvlm_dagster.captions.flagged_words import default_flagged_words

TEXT_PLACE = "{caption}"
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

_BATCH = 100_000


def measure_captions(
    texts: Sequence[str] | pl.Series, template: str | None = None, *, flagged_words: Collection[str] | None = None
) -> pl.DataFrame:
    """Measure every text rule's statistic.

    Args:
        texts: captions, none of them null.
        template: text that holds `{caption}`; each caption is put into it before it is measured. Data-Juicer measured
            `<image>\\n{caption} <|__dj__eoc|>`. None: the bare caption.
        flagged_words: lower-case words; None: the built-in English list.

    Returns:
        One row per text, in order, with the columns of `STATISTICS`.

    Raises:
        ValueError: the template has no place for the caption.
    """
    if template is not None and TEXT_PLACE not in template:
        raise ValueError(f"the template {template!r} does not contain {TEXT_PLACE}, the place where the caption goes")
    flagged = default_flagged_words() if flagged_words is None else frozenset(flagged_words)
    frames = [
        _measure_batch(_wrapped(texts[start : start + _BATCH], template), flagged)
        for start in range(0, len(texts), _BATCH)
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)


@cache
def special_characters() -> frozenset[str]:
    """The code points that `special_char_ratio` counts and that are stripped from both ends of a word."""
    listed = importlib.resources.files(__package__).joinpath("special_characters.txt").read_text(encoding="ascii")
    ranges = [entry for line in listed.splitlines() if not line.startswith("#") for entry in line.split()]
    bounds = [(entry.split("-")[0], entry.split("-")[-1]) for entry in ranges]
    return frozenset(chr(code) for first, last in bounds for code in range(int(first, 16), int(last, 16) + 1))


def measure_lengths(texts: Sequence[str] | pl.Series) -> pl.DataFrame:
    """`text_length` and `num_words` alone, of the bare captions: one row per text, in order."""
    strip = "".join(special_characters())
    return pl.DataFrame(
        {
            "text_length": [len(text) for text in texts],
            "num_words": [_word_count(_spaced_parts(text), strip) for text in texts],
        },
        schema={name: SCHEMA[name] for name in ("text_length", "num_words")},
    )


def character_repetition(text: str, n: int = NGRAM) -> float:
    """Share of the most frequent character n-grams among all, in [0, 1].

    Counted are the k most frequent ones, k = min(⌊√distinct⌋, number that occur more than once).
    """
    ngrams = [text[start : start + n] for start in range(len(text) - n + 1)]
    distinct = len(set(ngrams))
    if distinct == len(ngrams):
        return 0.0
    frequencies = sorted(Counter(ngrams).values(), reverse=True)
    repeated = sum(frequency > 1 for frequency in frequencies)
    return sum(frequencies[: min(math.isqrt(distinct), repeated)]) / len(ngrams)


def word_repetition(words: Sequence[str], n: int = NGRAM) -> float:
    """Share of the word n-grams that occur more than once, each occurrence counted, in [0, 1]."""
    if len(words) <= n:
        return 0.0
    frequencies = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    return sum(frequency for frequency in frequencies.values() if frequency > 1) / frequencies.total()


def _measure_batch(texts: list[str], flagged: frozenset[str]) -> pl.DataFrame:
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    ends = np.cumsum(lengths)
    strip = "".join(special_characters())
    word_repetitions, flagged_shares, word_counts = [], [], []
    for text in texts:
        parts = _spaced_parts(text)
        # Lower-casing comes before stripping: some letters have a lower case that counts as special.
        words = [word for word in (part.lower().strip(strip) for part in parts) if word]
        word_repetitions.append(word_repetition(words))
        flagged_shares.append(sum(word in flagged for word in words) / len(words) if words else 0.0)
        word_counts.append(len(words) if text.isascii() else _word_count(parts, strip))
    return pl.DataFrame(
        {
            "alnum_ratio": _share(codes, ends, lengths, _alphanumeric()),
            "special_char_ratio": _share(codes, ends, lengths, _special()),
            "char_rep_ratio": [character_repetition(text) for text in texts],
            "word_rep_ratio": word_repetitions,
            "flagged_words_ratio": flagged_shares,
            "text_length": lengths,
            "num_words": word_counts,
        },
        schema=SCHEMA,
    )


def _spaced_parts(text: str) -> list[str]:
    return text.replace("\n", " ").replace("\t", " ").split(" ")


def _word_count(parts: list[str], strip: str) -> int:
    """Words in the text's own case, as Data-Juicer counts them."""
    return sum(bool(part.strip(strip)) for part in parts)


def _wrapped(texts: Sequence[str] | pl.Series, template: str | None) -> list[str]:
    if template is None:
        return list(texts)
    before, *between = template.split(TEXT_PLACE)
    return [before + "".join(text + part for part in between) for text in texts]


def _share(codes: np.ndarray, ends: np.ndarray, lengths: np.ndarray, member: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(member[codes])])
    counts = total[ends] - total[ends - lengths]
    return counts / np.maximum(lengths, 1)


@cache
def _alphanumeric() -> np.ndarray:
    every_code = range(sys.maxunicode + 1)
    return np.fromiter((chr(code).isalnum() for code in every_code), dtype=bool, count=len(every_code))


@cache
def _special() -> np.ndarray:
    member = np.zeros(sys.maxunicode + 1, dtype=bool)
    member[[ord(character) for character in special_characters()]] = True
    return member
