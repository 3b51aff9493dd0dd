"""Raw captions of the small world as a crawl would bring them: mostly good, with known faults among them.

`python -m synthvlm_dagster.demo.raw_captions --output FOLDER` writes three files in three formats, and `faults.json`,
which says what was planted where. The pipeline reads the three files only; `planted_faults` is for those who measure
how well it curated.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthvlm_dagster.demo import caption_faults, world

CAPTIONS_FOLDER = Path(__file__).parent / "captions"
"""The files that come with the package."""

FILES = ("world_llava.json", "world.tsv", "world.parquet")
"""The pool's files, in the order in which a recipe should name them: copies stand behind their originals."""

MANIFEST = "faults.json"

GOOD = {"one object, held out": 259, "one object, seen in training": 371, "two objects, held out": 320}
"""Good captions by the kind of their scene; the first is every phrasing of every held-out scene with one object."""

WRITTEN_FAULTS: dict[str, tuple[int, Callable[[np.random.Generator], str]]] = {
    "advertisement": (60, caption_faults.advertisement),
    "gibberish": (55, caption_faults.gibberish),
    "repeated phrase": (45, caption_faults.repeated_phrase),
    "other language": (56, caption_faults.other_language),
    "markup": (50, caption_faults.markup),
    "too short": (40, caption_faults.too_short),
    "not about the world": (60, caption_faults.not_about_the_world),
    "flagged word": (24, caption_faults.flagged_word),
}
"""Fault → how often it is planted, and what writes it."""

COPY_FAULTS: dict[str, tuple[int, Callable[[str, np.random.Generator], str]]] = {
    "exact duplicate": (60, lambda caption, _: caption),
    "near duplicate, other form": (40, caption_faults.changed_form),
    "near duplicate, other word": (40, caption_faults.changed_word),
}
"""Fault → how often it is planted, and what makes the copy of a good caption.

Every second copy stands in a later file, where there is one.
"""

BAD_ROW = "bad row"
N_BAD_ROWS = 20
"""Rows without a caption: null, empty, or nothing but spaces."""

FAULTS = (*WRITTEN_FAULTS, *COPY_FAULTS, BAD_ROW)

_SEED = 58


@dataclass(eq=False)
class _Row:
    text: str | None
    fault: str | None = None
    original: _Row | None = None


def write_raw_captions(folder: Path) -> None:
    """Write the pool's three files and their manifest; the same bytes every time with the same polars.

    `world_llava.json` is LLaVA's layout, `world.tsv` has the columns id and caption, `world.parquet` uid and caption.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = _pool(np.random.default_rng(_SEED))
    numbers = itertools.count(1)
    ids = {name: [f"world-{next(numbers):05d}" for _ in rows] for name, rows in files.items()}
    llava, tsv, parquet = FILES
    conversations = [_conversation(key, row.text) for key, row in zip(ids[llava], files[llava], strict=True)]
    _write_json(folder / llava, conversations)
    lines = [f"{key}\t{row.text or ''}\n" for key, row in zip(ids[tsv], files[tsv], strict=True)]
    (folder / tsv).write_text("id\tcaption\n" + "".join(lines), encoding="utf-8", newline="")
    captions = pl.DataFrame(
        {"uid": ids[parquet], "caption": [row.text for row in files[parquet]]},
        schema={"uid": pl.String, "caption": pl.String},
    )
    captions.write_parquet(folder / parquet, compression="zstd")
    _write_json(folder / MANIFEST, _manifest(files))


def planted_faults(folder: Path = CAPTIONS_FOLDER) -> pl.DataFrame:
    """Where the faults are: one row per faulty caption.

    Returns:
        source_file, source_row (Int64, 0-based, header not counted), fault (one of `FAULTS`), and for copies
        original_file and original_row, else null. Rows of the files that are not in the table are good captions.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return pl.DataFrame(
        manifest["planted"],
        schema={
            "source_file": pl.String,
            "source_row": pl.Int64,
            "fault": pl.String,
            "original_file": pl.String,
            "original_row": pl.Int64,
        },
    )


def _pool(rng: np.random.Generator) -> dict[str, list[_Row]]:
    """The files' rows, in order."""
    good = [_Row(text) for text in _good_captions(rng)]
    taken = {_folded(row.text or "") for row in good}
    faulty = []
    for fault, (count, write) in WRITTEN_FAULTS.items():
        faulty += [_Row(_new_text(write, rng, taken), fault) for _ in range(count)]
    faulty += [_Row((None, "", "   ")[number % 3], BAD_ROW) for number in range(N_BAD_ROWS)]
    everything = [*good, *faulty]
    order = rng.permutation(len(everything))
    files = {
        name: [everything[index] for index in part] for name, part in zip(FILES, np.array_split(order, 3), strict=True)
    }
    originals = iter(rng.permutation(len(good)))
    for fault, (count, copy) in COPY_FAULTS.items():
        for number in range(count):
            original = good[next(originals)]
            copied = _Row(copy(original.text or "", rng), fault, original)
            _insert_behind(files, original, copied, in_another_file=number % 2 == 0, rng=rng)
    return files


def _good_captions(rng: np.random.Generator) -> list[str]:
    one_object: dict[bool, list[str]] = {True: [], False: []}
    for scene in world.all_scenes(1):
        one_object[world.is_held_out(scene)].extend(world.phrasings(scene))
    two_objects = [scene for scene in world.all_scenes(2) if world.is_held_out(scene) and _tells_two_words_apart(scene)]
    told = [
        scene
        if rng.random() < 0.5
        else world.Scene(scene.objects[::-1], scene.background, world.OPPOSITE[scene.relation])
        for scene in _sample(two_objects, GOOD["two objects, held out"], rng)
        if scene.relation
    ]
    return [
        *_sample(one_object[True], GOOD["one object, held out"], rng),
        *_sample(one_object[False], GOOD["one object, seen in training"], rng),
        *(world.write_caption(scene, rng) for scene in told),
    ]


def _tells_two_words_apart(scene: world.Scene) -> bool:
    """Whether the objects differ in two words or three.

    Two objects that share two words, such as "a large blue square to the left of a large blue triangle", often repeat
    more characters than SynthVLM's repetition rule allows.
    """
    first, second = scene.objects
    differing = (first.size != second.size) + (first.colour != second.colour) + (first.shape != second.shape)
    return differing >= 2


def _sample(choices: list[Any], count: int, rng: np.random.Generator) -> list[Any]:
    return [choices[index] for index in rng.choice(len(choices), size=count, replace=False)]


def _new_text(write: Callable[[np.random.Generator], str], rng: np.random.Generator, taken: set[str]) -> str:
    """A text that no earlier row has, not even in another form, and that is no good caption of the world."""
    while True:
        text = write(rng)
        folded = _folded(text)
        if folded not in taken and world.parse_caption(text) is None:
            taken.add(folded)
            return text


def _folded(text: str) -> str:
    letters = "".join(character for character in text.casefold() if character.isalnum())
    return letters or text


def _insert_behind(
    files: dict[str, list[_Row]], original: _Row, copied: _Row, *, in_another_file: bool, rng: np.random.Generator
) -> None:
    """Put a copy behind its original: in a later file where there is one, or farther down in the same file."""
    home = next(name for name in FILES if original in files[name])
    later_files = FILES[FILES.index(home) + 1 :]
    if in_another_file and later_files:
        rows = files[later_files[rng.integers(len(later_files))]]
        rows.insert(int(rng.integers(len(rows) + 1)), copied)
    else:
        rows = files[home]
        rows.insert(int(rng.integers(rows.index(original) + 1, len(rows) + 1)), copied)


def _conversation(key: str, text: str | None) -> dict[str, Any]:
    question = {"from": "human", "value": "<image>\nDescribe the picture in one sentence."}
    return {"id": key, "conversations": [question, {"from": "gpt", "value": text}]}


def _manifest(files: dict[str, list[_Row]]) -> dict[str, Any]:
    places = {row: (name, number) for name, rows in files.items() for number, row in enumerate(rows)}
    planted = []
    for row, (name, number) in places.items():
        if row.fault:
            original_file, original_row = places[row.original] if row.original else (None, None)
            planted.append(
                {
                    "source_file": name,
                    "source_row": number,
                    "fault": row.fault,
                    "original_file": original_file,
                    "original_row": original_row,
                }
            )
    per_file = Counter((entry["fault"], entry["source_file"]) for entry in planted)
    return {
        "rows": {name: len(rows) for name, rows in files.items()},
        "good": {name: sum(row.fault is None for row in rows) for name, rows in files.items()},
        "good_by_scene": GOOD,
        "faults": {fault: {name: per_file[fault, name] for name in FILES} for fault in FAULTS},
        "planted": planted,
    }


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Write the raw captions of the small world.")
    arguments.add_argument(
        "--output", type=Path, default=CAPTIONS_FOLDER, help="folder to write (default: the package's)"
    )
    write_raw_captions(arguments.parse_args().output)
