"""The statistics of the text rules written the plain way, a text at a time, to hold the compiled kernels against."""

from collections import Counter
from math import isqrt

from synthvlm_dagster.captions.character_classes import special_characters

SPECIAL = "".join(special_characters())


def measure_plainly(text, flagged, bare_text=None, n=10):
    """All statistics of one text, as in `STATISTICS`; lengths are those of `bare_text` where it is given."""
    measured_text = text if bare_text is None else bare_text
    refined = words(text)
    return {
        "alnum_ratio": sum(sign.isalnum() for sign in text) / max(len(text), 1),
        "special_char_ratio": sum(sign in SPECIAL for sign in text) / max(len(text), 1),
        "char_rep_ratio": character_repetition(text, n),
        "word_rep_ratio": word_repetition(refined, n),
        "flagged_words_ratio": sum(word in flagged for word in refined) / max(len(refined), 1),
        "text_length": len(measured_text),
        "num_words": sum(bool(_stripped(part)) for part in _parts(measured_text)),
    }


def words(text):
    return [word for part in _parts(text) if (word := _stripped(part.lower()))]


def character_repetition(text, n):
    frequencies = Counter(text[start : start + n] for start in range(len(text) - n + 1))
    counts = sorted(frequencies.values())
    most = min(isqrt(len(counts)), sum(count > 1 for count in counts))
    return sum(counts[len(counts) - most :]) / max(sum(counts), 1)


def word_repetition(words, n):
    frequencies = Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
    return sum(count for count in frequencies.values() if count > 1) / max(frequencies.total(), 1)


def _parts(text):
    return text.replace("\n", " ").replace("\t", " ").split(" ")


def _stripped(word):
    return word.strip(SPECIAL)
