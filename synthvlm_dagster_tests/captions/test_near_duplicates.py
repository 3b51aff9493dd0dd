"""Which captions say nearly the same as an earlier one."""

import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.captions.duplicates import normalized
from synthvlm_dagster.captions.near_duplicates import ARTICLES, TELLING_WORDS, near_duplicates
from synthvlm_dagster.captions.shingles import mark_copies
from synthvlm_dagster.demo import caption_faults, world

LONG = (
    "A young woman in a long coat walks her small dog along the wet street past a shop window full of books, "
    "while an old man on the bench feeds the birds and a bus waits at the corner for the last people of the day."
)
FEW_WORDS = st.sampled_from(["a", "the", "dog", "cat", "red", "blue", "left", "two", "3", "on", "near", "and", "big"])
CAPTION = st.lists(FEW_WORDS, min_size=1, max_size=12).map(" ".join)


def copies(*captions: str, similarity: float = 0.8) -> list[bool]:
    return near_duplicates([pl.Series(captions, dtype=pl.String)], similarity).tolist()


def are_same(one: str, other: str, similarity: float = 0.8) -> bool:
    first, second = copies(one, other, similarity=similarity)
    assert not first
    assert [first, second] == copies(other, one, similarity=similarity)
    return second


def plain_copies(captions: Sequence[str], similarity: float) -> list[bool]:
    """Every caption compared with all kept ones before it, on sets of Python strings."""
    kept: list[tuple[set, list]] = []
    found = []
    for caption in normalized(pl.Series(captions, dtype=pl.String)):
        words = caption.split(" ")
        words = [word for word in words if word not in ARTICLES] or words
        shingles = set(zip(["", *words], [*words, ""], strict=True))
        telling = [word for word in words if word in TELLING_WORDS or any(map(str.isnumeric, word))]
        copy = any(
            telling == other_telling and len(shingles & other) / len(shingles | other) >= similarity
            for other, other_telling in kept
        )
        found.append(copy)
        if not copy:
            kept.append((shingles, telling))
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A cat on a mat.", "the cat on the mat"),
        ("Man sitting on a bench in the park", "A man sitting on bench in park."),
        ("a dog", "Dog!"),
        (LONG, LONG.replace("street", "road")),
        (LONG, LONG.replace("bench", "wooden bench").replace("the last", "the very last")),
        (LONG, "Stock photo: " + LONG),
        (LONG, LONG.replace("birds", "brids")),
    ],
)
def test_same(one, other):
    assert are_same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dog", "cat"),
        ("red car", "blue car"),
        ("a red circle left of a blue square", "a blue circle left of a red square"),
        ("a dog chases a cat", "a cat chases a dog"),
        ("3 dogs on a beach", "4 dogs on a beach"),
        ("3 dogs on a beach", "dogs on a beach"),
        ("A circle that is large and red, on a grey wall.", "A square that is large and red, on a grey wall."),
        ("A large red circle on a plain background.", "A small red circle on a plain background."),
        (LONG + " The bus is red.", LONG + " The bus is blue."),
        (LONG + " A red bus passes a blue car.", LONG + " A blue bus passes a red car."),
        (LONG + " Two people wave.", LONG + " Three people wave."),
        (LONG + " It is number 12.", LONG + " It is number 21."),
        (LONG + " A tree stands on the left.", LONG + " A tree stands on the right."),
        (LONG + " There is no snow.", LONG + " There is snow."),
        ("一只狗在海滩上奔跑", "一只猫在海滩上奔跑"),
    ],
)  # fmt: skip
def test_different(one, other):
    assert not are_same(one, other)


@pytest.mark.parametrize("length", [1, 5, 11, 12, 16, 17, 30])
def test_what_one_word_makes_at_the_similarity_of_the_recipe(length):
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyzäöüß"][:length]
    for place in range(length):
        added = " ".join([*words[:place], "other", *words[place:]])
        replaced = " ".join([*words[:place], "other", *words[place + 1 :]])
        assert are_same(" ".join(words), added) == (length >= 12)
        assert are_same(" ".join(words), replaced) == (length >= 17)


def test_short_captions_of_different_pictures_are_kept_synonyms_among_them():
    rng = np.random.default_rng(3)
    scenes = [world.sample_scene(rng, 1) for _ in range(200)]
    good = list(dict.fromkeys(world.write_caption(scene, rng) for scene in scenes))
    assert not any(copies(*good))
    assert not any(copies(*good, *(caption_faults.changed_word(caption, rng) for caption in good)))


def test_captions_shorter_than_a_shingle_stay_apart():
    words = [f"{first}{second}" for first in "bcdfgh" for second in "aeiou"]
    assert not any(copies(*words))


def test_a_copy_of_a_copy_alone_is_kept():
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrst"]
    chain = [" ".join(words), " ".join([*words, "more"]), " ".join([*words, "more", "and", "much", "more"])]
    assert are_same(chain[0], chain[1])
    assert are_same(chain[1], chain[2])
    assert not are_same(chain[0], chain[2])
    assert copies(*chain) == [False, True, False]


@settings(deadline=None)
@given(st.lists(CAPTION, max_size=25), st.sampled_from([0.4, 0.5, 0.75, 0.8, 1.0]))
def test_what_is_found_is_certain_and_the_first_stays(captions, similarity):
    found, expected = copies(*captions, similarity=similarity), plain_copies(captions, similarity)
    # What MinHash misses may stand as an original for others: all agrees up to there.
    agreed = next((place for place in range(len(captions)) if found[place] != expected[place]), len(captions))
    assert found[:agreed] == expected[:agreed]
    assert agreed == len(captions) or expected[agreed]


@settings(deadline=None)
@given(st.lists(CAPTION, max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_batches_do_not_matter(captions, cuts):
    series = pl.Series(captions, dtype=pl.String)
    places = sorted({0, len(captions), *(cut for cut in cuts if cut <= len(captions))})
    batches = [series[start:stop] for start, stop in itertools.pairwise(places)]
    assert near_duplicates(batches).tolist() == near_duplicates([series]).tolist()


def test_thousands_of_variants_are_found():
    rng = np.random.default_rng(5)
    vocabulary = np.array([f"{first}{second}{third}" for first in "bdfgk" for second in "aeiou" for third in "lmnrst"])
    originals = [rng.choice(vocabulary, size=size) for size in rng.integers(17, 40, size=3000)]
    changed = []
    for words in originals:
        copy = words.copy()
        copy[rng.integers(copy.size)] = "other"
        changed.append(" ".join(copy))
    found = np.array(copies(*(" ".join(words) for words in originals), *changed))
    assert not found[:3000].any()
    # Of what is just similar enough one in 200 may be missed.
    assert found[3000:].mean() > 0.99


def test_copies_are_found_among_thousands_of_one_template():
    names = ["".join(letters) for letters in itertools.product("bdfgklmnpr", "aeiou", "bdfgklmnpr", "aeiou", "kmst")]
    template = "a photo of {} on the wooden table beside {} in an old room with windows in which a bird sings at night"
    originals = [template.format(*pair) for pair in zip(names[:5000], names[5000:], strict=True)]
    copied = [caption.replace(" sings", " gladly sings") for caption in originals[:500]]
    found = np.array(copies(*originals, *copied))
    assert not found[:5000].any()
    assert found[5000:].mean() > 0.98


def test_only_the_newest_of_a_band_are_looked_at():
    originals = 5
    captions = originals + 1
    # Each caption has one shingle of its own; all share the one band, and the last repeats the one it is given.
    for repeated in range(originals):
        shingles = np.array([*range(originals), repeated], np.uint64)
        is_copy = np.zeros(captions, dtype=bool)
        mark_copies(
            shingles,
            np.arange(1, captions + 1),
            np.zeros(captions, np.uint64),
            np.zeros((captions, 1), np.uint32),
            0,
            0.8,
            3,
            np.full((1, 8), -1, np.int32),
            np.full((1, captions), -1, np.int32),
            np.full(captions, -1, np.int32),
            is_copy,
        )
        assert is_copy.tolist() == [False] * originals + [repeated >= originals - 3]


def test_nothing_to_compare():
    assert near_duplicates([]).tolist() == []
    assert near_duplicates([pl.Series([], dtype=pl.String)]).tolist() == []
    assert copies("", "!!!", "...", "the", "a the") == [False] * 5
