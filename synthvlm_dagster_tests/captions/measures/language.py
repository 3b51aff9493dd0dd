"""English of the demo's world for language models that learn in a second, and an n-gram model counted from it."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from synthvlm_dagster.captions.measures.measurements import Measure
from synthvlm_dagster.demo import world
from synthvlm_dagster.recipe import KenLm

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_DISCOUNT = 0.5
_NEVER = -99.0
"""log10 probability that ARPA files give the start of a sentence, which is never predicted."""

Gram = tuple[str, ...]


def sentences(count: int, *, seed: int = 0) -> list[str]:
    """Captions of random scenes."""
    chance = np.random.default_rng(seed)
    return [world.write_caption(world.sample_scene(chance), chance) for _ in range(count)]


def shuffled(sentence: str, *, seed: int = 0) -> str:
    """The same words in another order."""
    words = sentence.split()
    while (mixed := list(np.random.default_rng(seed).permutation(words))) == words:
        seed += 1
    return " ".join(mixed)


def as_captions(texts: Iterable[str]) -> pl.DataFrame:
    """What a `Measure` is asked about: keys are the texts' numbers."""
    schema = {"key": pl.String, "text": pl.String, "image_uri": pl.String}
    return pl.DataFrame([(str(number), text, None) for number, text in enumerate(texts)], schema=schema, orient="row")


def measured(measure: Measure, texts: Iterable[str]) -> pl.DataFrame:
    """Key, value and problem of each text, in the texts' order."""
    captions = as_captions(texts)
    frames = pl.concat(measure.measure(captions, lambda _: None))
    assert frames.schema == {"key": pl.String, "value": pl.Float64, "problem": pl.String}
    return captions.select("key").join(frames, on="key", how="left", validate="1:1", maintain_order="left")


def train_sentencepiece(file: Path, texts: Sequence[str], **options: object) -> Path:
    """A small SentencePiece model."""
    import sentencepiece

    settings: dict[str, object] = {"vocab_size": 150, "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 2}
    with file.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=stream, **(settings | options)
        )
    return file


def train_kenlm(folder: Path) -> KenLm:
    """A trigram model over the SentencePiece pieces of 1,000 sentences."""
    import sentencepiece

    known = sentences(1000)
    pieces = train_sentencepiece(folder / "en.sp.model", known)
    cut = sentencepiece.SentencePieceProcessor(model_file=str(pieces)).encode(known, out_type=str)
    ngrams = write_arpa(folder / "en.arpa", [tuple(line) for line in cut])
    return KenLm(model=str(ngrams), sentencepiece=str(pieces))


def write_arpa(file: Path, lines: Sequence[Gram], order: int = 3) -> Path:
    """Back-off n-gram model with absolute discounting (Ney, Essen and Kneser 1994) as an ARPA file.

    After every history the probabilities of all words, the unknown one and the end of the sentence sum to 1.
    """
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for line in lines:
        marked = (START, *line, END)
        for length in range(1, order + 1):
            grams = (marked[end - length : end] for end in range(length, len(marked) + 1))
            counts[length - 1].update(gram for gram in grams if gram != (START,))
    probability, weight = _backed_off(counts)
    listed = [[(START,), (UNKNOWN,), *sorted(counts[0])], *(sorted(of_length) for of_length in counts[1:])]
    parts = ["\\data\\", *(f"ngram {length}={len(grams)}" for length, grams in enumerate(listed, 1))]
    for length, grams in enumerate(listed, 1):
        parts += ["", f"\\{length}-grams:"]
        for gram in grams:
            log10 = math.log10(probability(gram)) if gram != (START,) else _NEVER
            back_off = f"\t{math.log10(weight[gram]):.9f}" if gram in weight else ""
            parts.append(f"{log10:.9f}\t{' '.join(gram)}{back_off}")
    file.write_text("\n".join([*parts, "", "\\end\\", ""]), encoding="utf-8")
    return file


def _backed_off(counts: Sequence[Counter[Gram]]) -> tuple[Callable[[Gram], float], dict[Gram, float]]:
    """The probability of a gram's last word after the others, and the weight of shorter histories after a history."""
    total = counts[0].total()
    followed: defaultdict[Gram, list[Gram]] = defaultdict(list)
    for of_length in counts[1:]:
        for gram in of_length:
            followed[gram[:-1]].append(gram)
    times = {history: sum(counts[len(history)][gram] for gram in grams) for history, grams in followed.items()}
    weight: dict[Gram, float] = {}

    def probability(gram: Gram) -> float:
        if gram == (UNKNOWN,):
            return _DISCOUNT * len(counts[0]) / total
        if len(gram) == 1:
            return (counts[0][gram] - _DISCOUNT) / total
        if seen := counts[len(gram) - 1][gram]:
            return (seen - _DISCOUNT) / times[gram[:-1]]
        return weight.get(gram[:-1], 1.0) * probability(gram[1:])

    for history in sorted(followed, key=len):
        grams = followed[history]
        left = 1.0 - sum(probability(gram) for gram in grams)
        weight[history] = left / (1.0 - sum(probability(gram[1:]) for gram in grams))
    return probability, weight
