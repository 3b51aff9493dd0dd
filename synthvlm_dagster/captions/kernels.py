"""Compiled loops that measure captions straight on the bytes of an Arrow string column.

All of them are in this one file: numba's cache notices that a kernel has changed by the file it is written in. The
flags of `character_classes` are compiled in too; whoever changes their values must change this file with them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthvlm_dagster.captions.character_classes import ALPHANUMERIC, IRREGULAR, SEPARATOR, SPECIAL
from synthvlm_dagster.compiled import compiled

_Codes = NDArray[np.uint32]
_Places = NDArray[np.int64]
_Hashes = NDArray[np.uint64]
_Slots = NDArray[np.int32]

# Odd, with well mixed bits: the 64-bit golden ratio. A hash only finds candidates, which are compared in full.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
# Enough that the n-grams of a caption seldom meet by chance, few enough to stay in a core's cache.
_MARKS = 1 << 15
_MARK_SHIFT = np.uint64(64 - _MARKS.bit_length() + 1)


class Template(NamedTuple):
    """The texts between which a caption is put, one more than there are places for it."""

    codes: NDArray[np.uint32]
    ends: NDArray[np.int64]


class Characters(NamedTuple):
    """See `character_classes`: what every code point counts as, and its lower case."""

    classes: NDArray[np.uint8]
    lower_case: NDArray[np.uint32]


class WordTable(NamedTuple):
    """A hash table of words: slots hold a word's index + 1, or 0."""

    slots: NDArray[np.int32]
    codes: NDArray[np.uint32]
    ends: NDArray[np.int64]


class Measured(NamedTuple):
    """Where the statistics are written, one value for each text; they are defined in `text_statistics.STATISTICS`.

    `irregular` are the texts whose lower case is not one code point for one code point: their word_rep_ratio and
    flagged_words_ratio are right only for the text made lower-case.
    """

    alnum_ratio: NDArray[np.float64]
    special_char_ratio: NDArray[np.float64]
    char_rep_ratio: NDArray[np.float64]
    word_rep_ratio: NDArray[np.float64]
    flagged_words_ratio: NDArray[np.float64]
    text_length: NDArray[np.int64]
    num_words: NDArray[np.int64]
    irregular: NDArray[np.bool_]


@compiled
def measure_texts(
    utf8: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    template: Template,
    ngram: int,
    bare_lengths: bool,
    characters: Characters,
    flagged: WordTable,
    measured: Measured,
) -> None:
    """Measure each text of an Arrow string column inside a template.

    Args:
        utf8: the bytes of all texts.
        offsets: (texts + 1,), where each text begins in `utf8`; the last entry is the end.
        template: what stands around each text.
        ngram: length of the n-grams.
        bare_lengths: whether text_length and num_words leave the template out.
        characters: tables of all code points.
        flagged: flagged words, from `word_table`.
        measured: written into.
    """
    classes = characters.classes
    places = template.ends.size - 1
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    capacity = template.codes.size + places * longest + 1
    most_words = capacity // 2 + 1
    codes = np.empty(capacity, np.uint32)
    words = np.empty(most_words, np.uint32)
    word_hashes = np.empty(most_words, np.uint64)
    word_begins = np.empty(most_words, np.int64)
    word_ends = np.empty(most_words, np.int64)
    slots = np.empty(_table_size(capacity), np.int32)
    counts = np.empty(slots.size, np.int32)
    repeated = np.empty(capacity // 2 + 1, np.int32)
    marks = np.zeros(_MARKS, np.uint32)

    for row in range(offsets.size - 1):
        length, caption_begin, caption_end = 0, 0, 0
        piece_begin = 0
        for place in range(places + 1):
            if place > 0:
                caption_begin = length
                length = _decode(utf8, offsets[row], offsets[row + 1], codes, length)
                caption_end = length
            for position in range(piece_begin, template.ends[place]):
                codes[length] = template.codes[position]
                length += 1
            piece_begin = template.ends[place]

        alnum, special, seen = 0, 0, np.uint8(0)
        for position in range(length):
            kind = classes[codes[position]]
            alnum += kind & ALPHANUMERIC != 0
            special += kind & SPECIAL != 0
            seen |= kind
        measured.irregular[row] = seen & IRREGULAR != 0
        measured.alnum_ratio[row] = alnum / max(length, 1)
        measured.special_char_ratio[row] = special / max(length, 1)
        if bare_lengths:
            measured.text_length[row] = caption_end - caption_begin
            measured.num_words[row] = _word_count(codes, caption_begin, caption_end, classes)
        else:
            measured.text_length[row] = length
            measured.num_words[row] = _word_count(codes, 0, length, classes)

        measured.char_rep_ratio[row] = 0.0
        ngrams = length - ngram + 1
        if _may_repeat(codes, ngrams, ngram, marks, np.uint32(2 * row + 1)):
            distinct, several = _count_ngrams(codes, ngrams, ngram, slots, counts, repeated)
            most = min(int(np.sqrt(distinct)), several)
            measured.char_rep_ratio[row] = _sum_of_largest(counts, repeated, several, most) / ngrams

        # From here on the text is lower-case.
        word_count = _split_words(codes, length, characters, word_begins, word_ends, word_hashes)
        hits = 0
        for word in range(word_count):
            hits += _is_listed(codes, word_begins[word], word_ends[word], word_hashes[word], flagged)
        measured.flagged_words_ratio[row] = hits / max(word_count, 1)

        measured.word_rep_ratio[row] = 0.0
        ngrams = word_count - ngram + 1
        if _may_repeat(word_hashes, ngrams, ngram, marks, np.uint32(2 * row + 2)):
            _number_words(codes, word_begins, word_ends, word_hashes, word_count, slots, words)
            _, several = _count_ngrams(words, ngrams, ngram, slots, counts, repeated)
            measured.word_rep_ratio[row] = _sum_of_largest(counts, repeated, several, several) / ngrams


@compiled
def word_table(codes: NDArray[np.uint32], ends: NDArray[np.int64]) -> WordTable:
    """Hash table of words, given the code points of all and where each ends in them."""
    slots = np.zeros(_table_size(8 * ends.size), np.int32)
    mask = np.uint64(slots.size - 1)
    begin = 0
    for word in range(ends.size):
        hashed = np.uint64(0)
        for position in range(begin, ends[word]):
            hashed = (hashed + np.uint64(codes[position])) * _FACTOR
        slot = _slot(hashed, mask)
        while slots[slot]:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = word + 1
        begin = ends[word]
    return WordTable(slots, codes, ends)


@compiled
def _decode(utf8: NDArray[np.uint8], begin: int, end: int, codes: _Codes, length: int) -> int:
    bits = np.uint8(0)
    for position in range(begin, end):
        bits |= utf8[position]
    if bits < 0x80:
        for position in range(begin, end):
            codes[length + position - begin] = utf8[position]
        return length + end - begin
    position = begin
    while position < end:
        code = np.uint32(utf8[position])
        position += 1
        if code >= 0x80:
            if code < 0xE0:
                following, code = 1, code & np.uint32(0x1F)
            elif code < 0xF0:
                following, code = 2, code & np.uint32(0x0F)
            else:
                following, code = 3, code & np.uint32(0x07)
            for _ in range(following):
                code = (code << np.uint32(6)) | (np.uint32(utf8[position]) & np.uint32(0x3F))
                position += 1
        codes[length] = code
        length += 1
    return length


@compiled
def _word_count(codes: _Codes, begin: int, end: int, classes: NDArray[np.uint8]) -> int:
    """Words in the text's own case, as Data-Juicer counts them: parts that are not special throughout."""
    words = 0
    inside = False
    for position in range(begin, end):
        kind = classes[codes[position]]
        counted = kind & SPECIAL == 0
        words += counted & ~inside
        inside = (inside | counted) & (kind & SEPARATOR == 0)
    return words


@compiled
def _split_words(
    codes: _Codes, length: int, characters: Characters, begins: _Places, ends: _Places, hashes: _Hashes
) -> int:
    """Make the text lower-case and find its words: their number, and where each begins, ends, and its hash."""
    classes, lower_case = characters.classes, characters.lower_case
    words = 0
    begin, end = -1, -1
    rolling, hashed = np.uint64(0), np.uint64(0)
    codes[length] = np.uint32(0x20)
    for position in range(length + 1):
        code = codes[position]
        if classes[code] & SEPARATOR:
            if begin >= 0:
                begins[words] = begin
                ends[words] = end
                hashes[words] = hashed
                words += 1
                begin = -1
                rolling = np.uint64(0)
            continue
        code = lower_case[code]
        codes[position] = code
        # Stripped after lower-casing: some letters have a lower case that counts as special.
        special = classes[code] & SPECIAL
        if begin < 0:
            if special:
                continue
            begin = position
        rolling = (rolling + np.uint64(code)) * _FACTOR
        if not special:
            end = position + 1
            hashed = rolling
    return words


@compiled
def _may_repeat(items: _Codes | _Hashes, ngrams: int, n: int, marks: NDArray[np.uint32], mark: np.uint32) -> bool:
    """Whether two n-grams of `items` have the same hash, most of which bits decide: if not, then none repeats.

    Args:
        marks: one for each hash, none of them equal to `mark`.
    """
    if ngrams < 2:
        return False
    oldest = np.uint64(1)
    for _ in range(n):
        oldest *= _FACTOR
    rolling = np.uint64(0)
    for position in range(n):
        rolling = rolling * _FACTOR + np.uint64(items[position])
    marks[rolling >> _MARK_SHIFT] = mark
    met = False
    for begin in range(1, ngrams):
        incoming = np.uint64(items[begin + n - 1]) - oldest * np.uint64(items[begin - 1])
        rolling = rolling * _FACTOR + incoming
        place = rolling >> _MARK_SHIFT
        met |= marks[place] == mark
        marks[place] = mark
    return met


@compiled
def _count_ngrams(
    items: _Codes, ngrams: int, n: int, slots: _Slots, counts: _Slots, repeated: _Slots
) -> tuple[int, int]:
    """Count the n-grams of `items`.

    Writes the slots of those that occur more than once into `repeated`, their frequencies into `counts` at these slots.
    Returns how many n-grams are distinct, and how many of those occur more than once.
    """
    if ngrams < 2:
        return max(ngrams, 0), 0
    size = _table_size(ngrams)
    slots[:size] = 0
    mask = np.uint64(size - 1)
    oldest = np.uint64(1)
    for _ in range(n):
        oldest *= _FACTOR
    rolling = np.uint64(0)
    for position in range(n):
        rolling = rolling * _FACTOR + np.uint64(items[position])
    distinct, several = 0, 0
    for begin in range(ngrams):
        if begin > 0:
            incoming = np.uint64(items[begin + n - 1]) - oldest * np.uint64(items[begin - 1])
            rolling = rolling * _FACTOR + incoming
        slot = _slot(rolling, mask)
        while True:
            other = slots[slot] - 1
            if other < 0:
                slots[slot] = begin + 1
                counts[slot] = 1
                distinct += 1
                break
            equal = 0
            while equal < n and items[other + equal] == items[begin + equal]:
                equal += 1
            if equal == n:
                if counts[slot] == 1:
                    repeated[several] = slot
                    several += 1
                counts[slot] += 1
                break
            slot = (slot + np.uint64(1)) & mask
    return distinct, several


@compiled
def _sum_of_largest(counts: _Slots, repeated: _Slots, several: int, most: int) -> int:
    frequencies = np.empty(several, np.int64)
    total = 0
    for index in range(several):
        frequencies[index] = counts[repeated[index]]
        total += frequencies[index]
    if most == several:
        return total
    frequencies.sort()
    return frequencies[several - most :].sum()


@compiled
def _number_words(
    codes: _Codes, begins: _Places, ends: _Places, hashes: _Hashes, word_count: int, slots: _Slots, words: _Codes
) -> None:
    """Give equal words the same number, and others another: written into `words`."""
    size = _table_size(word_count)
    slots[:size] = 0
    mask = np.uint64(size - 1)
    for word in range(word_count):
        slot = _slot(hashes[word], mask)
        words[word] = word
        while slots[slot]:
            other = slots[slot] - 1
            if _equal(codes, begins[word], ends[word], codes, begins[other], ends[other]):
                words[word] = other
                break
            slot = (slot + np.uint64(1)) & mask
        if words[word] == word:
            slots[slot] = word + 1


@compiled
def _is_listed(codes: _Codes, begin: int, end: int, hashed: np.uint64, table: WordTable) -> bool:
    mask = np.uint64(table.slots.size - 1)
    slot = _slot(hashed, mask)
    while table.slots[slot]:
        word = table.slots[slot] - 1
        listed_begin = table.ends[word - 1] if word else 0
        if _equal(codes, begin, end, table.codes, listed_begin, table.ends[word]):
            return True
        slot = (slot + np.uint64(1)) & mask
    return False


@compiled
def _equal(codes: _Codes, begin: int, end: int, others: _Codes, others_begin: int, others_end: int) -> bool:
    length = end - begin
    if length != others_end - others_begin:
        return False
    equal = 0
    while equal < length and codes[begin + equal] == others[others_begin + equal]:
        equal += 1
    return equal == length


@compiled
def _slot(hashed: np.uint64, mask: np.uint64) -> np.uint64:
    return (hashed >> _HALF) & mask


@compiled
def _table_size(entries: int) -> int:
    """A power of two that leaves at least half of a hash table free."""
    size = 8
    while size < 2 * entries:
        size *= 2
    return size
