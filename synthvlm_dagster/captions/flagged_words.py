"""Lists of words that no caption may hold: the built-in English one, or a file the recipe names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

import fsspec

from synthvlm_dagster.errors import RecipeError


@cache
def default_flagged_words() -> frozenset[str]:
    """The English list of the glin-profanity package, lower-case.

    Raises:
        RecipeError: the installed package has no English list.
    """
    from glin_profanity.data.dictionary import dictionary

    words = _cleaned(dictionary.get_words("english"))
    if not words:
        raise RecipeError(
            "glin-profanity, as installed, has no English word list. Install it again, or name a list of your own in "
            "curation.flagged_words"
        )
    return words


def read_flagged_words(location: str) -> frozenset[str]:
    """Read a list of flagged words, lower-cased.

    Args:
        location: path or fsspec URL of a text file with one entry a line, a JSON list, or a JSON mapping from
            languages to lists (Data-Juicer's layout), all of which are used.

    Raises:
        RecipeError: the file cannot be read, or holds no list of words.
    """
    try:
        with fsspec.open(location, "rt", encoding="utf-8", compression="infer") as file:
            content = file.read()
        entries = json.loads(content) if content.lstrip().startswith(("[", "{")) else content.splitlines()
    except (OSError, ValueError, ImportError) as error:
        raise RecipeError(f"curation.flagged_words: {location}: cannot be read: {error}") from error
    if isinstance(entries, dict):
        entries = [word for words in entries.values() if isinstance(words, list) for word in words]
    words = _cleaned(entry for entry in entries if isinstance(entry, str))
    if not words:
        raise RecipeError(
            f"curation.flagged_words: {location}: holds no words. Write one a line, or a JSON list of strings"
        )
    return words


def _cleaned(entries: Iterable[str]) -> frozenset[str]:
    return frozenset(word for word in (entry.strip().lower() for entry in entries) if word)
