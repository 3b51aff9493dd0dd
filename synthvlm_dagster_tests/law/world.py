"""A small project on the disk: caption files, word lists, models and a recipe, each of which can be edited."""

from __future__ import annotations

import io
import json
import os
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synthvlm_dagster.recipe import Recipe

CAPTIONS = (
    "a large crimson circle, number 0, on a plain white background",
    "two small green triangles beside a blue square on the lawn",
    "a zebra stands alone in the high grass of a wide plain",
    "an old wooden chair, painted yellow, in front of a brick wall",
    "A Large Crimson Circle, number 0, on a plain white background",
    "a man and a woman walk their dogs along the river at dusk",
    "a bowl of ripe oranges, apples and pears on a linen cloth",
    "ein kleines rotes Haus steht am Ufer eines stillen Sees im Wald",
    "five sailing boats, all with white sails, race past the light house",
    "a cup",
    "the narrow street of an old town, with flags in the windows",
    "a red fox curls up to sleep in the fresh snow under a tree",
    "very very very very very very very very very very very very very red",
    "a tall crimson circle, number 1, on a plain white background",
    "a train, no. 4711, leaves platform 12 at 10:45 for Berlin (2024)",
    "a girl in a straw hat paints the sea, the cliffs and the clouds",
    "a heron waits in the shallow water of a pond at the break of day",
    "a lemon tree in a clay pot stands by the door of a white house",
    "three grey pigeons sit on the arm of a statue in the park",
    "two small green triangles beside a blue square on the grass",
    "a baker lifts dark loaves of bread out of a stone oven",
    "a violin, its bow and a score lie on the lid of a black piano",
)
"""What the caption files hold, by number. Some are flagged, repeated, foreign, short or full of digits."""

WORDS = {"zebra": "zebra\n", "fox": "fox\n", "both": "zebra\nfox\n", "bread": "bread\n"}
"""Versions of the list of flagged words."""

MODELS = ("painter", "other-painter", "refiner", "vae", "lora", "clip", "blip", "siglip", "vqa", "classifier")
MODEL_FILES = ("predictor.safetensors", "en.arpa", "en.sp.model", "clip-weights.pt")
WEIGHTS = ("first", "again")
"""Versions of every model's weights, of the same size."""

_LONG_AGO = 1_600_000_000
"""The time of change that every file has, whatever is written into it: copies and archives keep times."""


MAIN_COLUMNS = {
    "text": "caption",
    "image": "image",
    "clip_similarity": "similarity",
    "watermark_score": "watermark",
    "nsfw_score": "nsfw",
}
_EXTRA_ROWS = (
    (17, "a jug; a glass and a plate; all of blue china; on a shelf"),
    (18, "a boy; in a yellow coat; jumps over a puddle"),
)


def source(name: str, **changed: Any) -> dict[str, Any]:
    """One of the three sources: `main` has columns, `more` is plain text, `extra` a table without a header."""
    sources: dict[str, dict[str, Any]] = {
        "main": {"path": "@/captions/main.jsonl", "format": "jsonl", "columns": MAIN_COLUMNS},
        "more": {"path": "@/captions/more.txt", "format": "txt"},
        "extra": {"path": "@/captions/extra.csv", "format": "csv", "header": False, "column_names": ["caption", "b"]},
    }
    return {"name": name, **sources[name], **changed}


BASE: dict[str, Any] = {
    "name": "law",
    "description": "Shapes and scenes.",
    "seed": 7,
    "sources": [source("main"), source("more")],
    "shards": 2,
    "shards_per_run": 2,
    "curation": {
        "flagged_words": "@/words.txt",
        "rules": {"num_words": {"min": 3}, "special_char_ratio": None, "watermark_score": {"max": 0.95}},
    },
    "attempts": {"per_caption": 2},
    "generation": {
        "model": "@/models/painter",
        "num_inference_steps": 2,
        "width": 16,
        "height": 16,
        "dtype": "float32",
        "device": "cpu",
        "images_per_chunk": 3,
        "batch_size": 4,
        "retries": 1,
        "image_format": "png",
    },
    "scoring": {"clip": {"model": "@/models/clip", "pretrained": None}, "ssim": {"reduced_size": 8}},
    "selection": {"share": 0.5},
    "exports": {"webdataset": {"pairs_per_tar": 3}},
    "report": {"gallery_pairs": 4},
}
"""The recipe that every history begins with; `@/` is the folder of the world."""


class World:
    """The folder, the recipe and the files as they stand now.

    Attributes:
        folder: holds everything but the store.
        recipe: as plain values, without `storage`.
        captions: numbers of `CAPTIONS` in each file, in order.
        versions: of every other file that can be edited, by path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = deepcopy(BASE)
        self.captions = {"main": [0, 1, 2, 3, 4, 5, 6, 7], "more": [8, 9, 10, 11, 12, 13]}
        self.versions: dict[str, str] = {"words.txt": "zebra", "comparison/pairs.jsonl": "first"}
        self.versions |= {f"models/{name}/weights.safetensors": WEIGHTS[0] for name in MODELS}
        self.versions |= {f"models/{name}": WEIGHTS[0] for name in MODEL_FILES}
        if folder.exists():
            shutil.rmtree(folder)
        for path in self.versions:
            self._write(path)
        for name in self.captions:
            self._write_captions(name)
        for name, kind in (("blip", "blip"), ("vqa", "llava"), ("classifier", "vit")):
            self._put(f"models/{name}/config.json", json.dumps({"model_type": kind}).encode())
        rows = "".join(f'"{CAPTIONS[number]}","{second}"\n' for number, second in _EXTRA_ROWS)
        self._put("captions/extra.csv", rows.encode())
        self._put("captions/extra-semicolons.csv", rows.replace('","', '";"').encode())
        self._put("captions/extra-header.csv", ("caption,second\n" + rows).encode())
        for number in range(6):
            self._put(f"comparison/images/{number}.png", _picture(number))
            self._put(f"comparison/copies/{number}.png", _picture(number + 10))

    @property
    def key(self) -> str:
        """The same for equal recipes over equal files."""
        return json.dumps([self.recipe, self.captions, self.versions], sort_keys=True)

    def validated(self, storage: Path) -> Recipe:
        """The recipe over a store.

        Raises:
            pydantic.ValidationError: the settings do not go together.
        """
        return Recipe.model_validate(self._placed(self.recipe) | {"storage": str(storage)})

    def set(self, field: str, value: Any) -> None:
        """Set a field or section of the recipe, such as `selection.count`; the sections above it must be on.

        Raises:
            pydantic.ValidationError: the settings do not go together; nothing is changed.
        """
        changed = deepcopy(self.recipe)
        section = changed
        *above, last = field.split(".")
        for name in above:
            section = section.setdefault(name, {})
        section[last] = deepcopy(value)
        Recipe.model_validate(self._placed(changed))
        self.recipe = changed

    def write(self, path: str, version: str) -> None:
        """Write another version of a file, in place and without a change of its times."""
        self.versions[path] = version
        self._write(path)

    def write_captions(self, name: str, numbers: list[int]) -> None:
        """Write a caption file anew."""
        self.captions[name] = numbers
        self._write_captions(name)

    def _placed(self, value: Any) -> Any:
        """The value with the folder in the place of `@`."""
        if isinstance(value, dict):
            return {name: self._placed(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._placed(inner) for inner in value]
        if isinstance(value, str) and value.startswith("@/"):
            return str(self.folder / value.removeprefix("@/"))
        return value

    def _write(self, path: str) -> None:
        version = self.versions[path]
        if path == "words.txt":
            content = WORDS[version]
        elif path == "comparison/pairs.jsonl":
            content = comparison_file(version)
        else:
            content = f"weights of {path}, {version}"
        self._put(path, content.encode())

    def _write_captions(self, name: str) -> None:
        numbers = self.captions[name]
        if name == "main":
            text = "".join(json.dumps(_main_row(number)) + "\n" for number in numbers)
        else:
            text = "".join(f"{CAPTIONS[number]}\n" for number in numbers)
        self._put(f"captions/{name}.{'jsonl' if name == 'main' else 'txt'}", text.encode())

    def _put(self, path: str, content: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (_LONG_AGO, _LONG_AGO))


def comparison_file(version: str) -> str:
    """The rows of a comparison's file: six pairs, or with another caption and one pair less."""
    numbers = {"first": [1, 3, 5, 6, 8, 10], "again": [1, 3, 5, 6, 11]}[version]
    rows = [{"caption": CAPTIONS[number], "image": f"{place}.png"} for place, number in enumerate(numbers)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _main_row(number: int) -> dict[str, Any]:
    def tenths(factor: int) -> float:
        return (number * factor % 11) / 10

    return {
        "caption": CAPTIONS[number],
        "image": f"original-{number}.png",
        "similarity": tenths(3) if number % 5 else None,
        "watermark": tenths(7),
        "nsfw": tenths(5),
    }


def _picture(number: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()
