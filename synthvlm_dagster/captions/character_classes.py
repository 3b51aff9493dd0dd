"""What each Unicode code point counts as when a caption is measured, and its lower case."""

from __future__ import annotations

import importlib.resources
import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray

ALPHANUMERIC, SPECIAL, SEPARATOR, IRREGULAR = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)

# Data-Juicer splits words at these alone; other white space is part of a word, or stripped from its ends as special.
SEPARATORS = " \n\t"
# The letters whose lower case is not one code point for one code point: İ becomes two, Σ depends on its neighbours.
IRREGULAR_LETTERS = "İΣ"

_CODES = sys.maxunicode + 1


@cache
def special_characters() -> frozenset[str]:
    """The code points that `special_char_ratio` counts and that are stripped from both ends of a word."""
    listed = importlib.resources.files(__package__).joinpath("special_characters.txt").read_text(encoding="ascii")
    ranges = [entry for line in listed.splitlines() if not line.startswith("#") for entry in line.split()]
    bounds = [(entry.split("-")[0], entry.split("-")[-1]) for entry in ranges]
    return frozenset(chr(code) for first, last in bounds for code in range(int(first, 16), int(last, 16) + 1))


@cache
def character_classes() -> NDArray[np.uint8]:
    """Which of ALPHANUMERIC, SPECIAL, SEPARATOR and IRREGULAR a code point is, or-ed: shape (1,114,112,)."""
    classes = np.fromiter(map(str.isalnum, _every_character()), dtype=np.uint8, count=_CODES) * ALPHANUMERIC
    for flag, characters in ((SPECIAL, special_characters()), (SEPARATOR, SEPARATORS), (IRREGULAR, IRREGULAR_LETTERS)):
        classes[[ord(character) for character in characters]] |= flag
    return classes


@cache
def lower_case() -> NDArray[np.uint32]:
    """Lower case of every code point, its own where it has none: shape (1,114,112,). Irregular letters keep theirs."""
    regular = _every_character().translate(dict.fromkeys(map(ord, IRREGULAR_LETTERS), " "))
    lowered = np.frombuffer(regular.lower().encode("utf-32-le", "surrogatepass"), dtype=np.uint32).copy()
    lowered[[ord(letter) for letter in IRREGULAR_LETTERS]] = [ord(letter) for letter in IRREGULAR_LETTERS]
    return lowered


def _every_character() -> str:
    return np.arange(_CODES, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
