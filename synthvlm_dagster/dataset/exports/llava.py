"""LLaVA's training layout: one JSON of conversations beside a tree of images.

`train.py` of LLaVA (https://github.com/haotian-liu/LLaVA) opens `image` below its `--image_folder`, and wants the
placeholder `<image>` exactly once in a conversation, in the first human turn. It moves the placeholder to the front; in
pretraining it leaves nothing of that turn but the placeholder. It opens the JSON in the encoding of the machine's
locale, so the file is pure ASCII, with other characters escaped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from PIL import Image

from synthvlm_dagster.dataset.exports.image_opens import images_that_do_not_open
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import decode_image
from synthvlm_dagster.images.provenance import read_provenance
from synthvlm_dagster.images.table import encode_image, image_suffix
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.exports import LlavaExport as LlavaSettings
from synthvlm_dagster.store.storage import Storage

FOLDER = "dataset/llava"
CONVERSATIONS = f"{FOLDER}/synthvlm.json"
IMAGE_FOLDER = f"{FOLDER}/images"
PLACEHOLDER = "<image>"
_NOT_IN_CAPTIONS = re.compile(r"<image>|</?s>")
"""What LLaVA reads as a picture, and what Llama's tokenizer reads as the beginning or end of a text."""

PROMPTS = (
    "What can be seen in this picture?",
    "Write a caption that fits this image.",
    "Put the content of this image into words.",
    "Tell me what this picture is about.",
    "How would you caption this picture?",
    "Give a short account of what this image shows.",
    "Say in a sentence or two what is depicted here.",
    "Describe this picture for someone who cannot see it.",
)
"""What the human asks for; each pair gets one of them."""


COLUMNS = {
    "id": ("string", "image_id of the pair."),
    "image": ("string", "Path of the image file, from the folder `images`."),
    "conversations": ("list", "A prompt with the image from `human`, and the caption from `gpt`."),
}
"""Type and description of an entry's fields."""


@dataclass(frozen=True)
class LlavaExport:
    """What was written.

    Attributes:
        pairs: number of entries and of images.
        bytes: size of all files.
        sample: the entry of the best pair; None when nothing was selected.
    """

    pairs: int
    bytes: int
    sample: dict[str, Any] | None


@dataclass(frozen=True)
class LlavaVerdict:
    """How an export differs from the selected pairs; every field is sorted and empty when all is well.

    Attributes:
        missing: image_ids that were selected and have no entry.
        unexpected: image_ids of entries that were not selected, or that come twice.
        malformed: image_ids of entries that LLaVA's train.py would stumble over.
        unreadable: image paths that cannot be opened and decoded, or that no entry names.
    """

    missing: list[str]
    unexpected: list[str]
    malformed: list[str]
    unreadable: list[str]

    @property
    def passed(self) -> bool:
        """Whether the export holds exactly the selected pairs, each with an image that opens."""
        return not (self.missing or self.unexpected or self.malformed or self.unreadable)


def conversation_entry(image_id: str, image: str, caption: str, seed: int) -> dict[str, Any]:
    """One element of LLaVA's JSON.

    The prompt, and whether the image stands before or after it, follow from `seed` and `image_id` alone. `<image>`
    inside a caption would count as a second picture, `<s>` and `</s>` would end it early; they are taken out.

    Args:
        image: path of the image below the image folder, with `/`.
    """
    draw = int.from_bytes(hashlib.blake2b(f"{seed}\0{image_id}".encode(), digest_size=8).digest(), "big")
    side, choice = draw % 2, draw // 2 % len(PROMPTS)
    question = f"{PLACEHOLDER}\n{PROMPTS[choice]}" if side == 0 else f"{PROMPTS[choice]}\n{PLACEHOLDER}"
    answer = _NOT_IN_CAPTIONS.sub(" ", caption).strip()
    return {
        "id": image_id,
        "image": image,
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}],
    }


def write_llava(recipe: Recipe, storage: Storage, on_progress: Callable[[str], None] = lambda _: None) -> LlavaExport:
    """Write the selected pairs as `synthvlm.json` (best first) and `images/<shard>/<image_id>.<suffix>`.

    Images are the store's own bytes, or resized to a square of `exports.llava.image_size` pixels and encoded in the
    same format. The old export stands until the new one is whole.

    Raises:
        StorageError: an image is missing, or the folder cannot be written.
        ImageError: an image to be resized cannot be decoded.
    """
    selected = storage.scan(SELECTED).collect()
    suffix, size = image_suffix(recipe), (recipe.exports.llava or LlavaSettings()).image_size
    ranked: list[tuple[int, dict[str, Any]]] = []
    total_bytes = 0
    with storage.replaced_folder(FOLDER, last=["synthvlm.json"]) as folder:
        (folder / "images").mkdir()
        for batch in with_images(recipe, storage, selected, on_progress):
            for row in batch.iter_rows(named=True):
                name = f"{row['shard']}/{row['image_id']}.{suffix}"
                content = row["image"]["bytes"]
                if size:
                    content = _resized(content, size, recipe, row["image_id"])
                file = folder / "images" / name
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(content)
                total_bytes += len(content)
                ranked.append((row["rank"], conversation_entry(row["image_id"], name, row["text"], recipe.seed)))
        ranked.sort(key=lambda item: item[0])
        document = "[\n" + ",\n".join(json.dumps(entry) for _, entry in ranked) + "\n]\n"
        total_bytes += (folder / "synthvlm.json").write_bytes(document.encode())
    return LlavaExport(pairs=len(ranked), bytes=total_bytes, sample=ranked[0][1] if ranked else None)


def verify_llava(storage: Storage) -> LlavaVerdict:
    """Compare the export with the selected pairs, and decode every image.

    Raises:
        StorageError: the export or the selection is not there.
    """
    selected = set(storage.scan(SELECTED).select("image_id").collect()["image_id"])
    entries = json.loads(storage.read_bytes(CONVERSATIONS))
    found = pl.Series([entry["id"] for entry in entries], dtype=pl.String)
    named = {f"{IMAGE_FOLDER}/{entry['image']}" for entry in entries}
    stored = set(storage.files(IMAGE_FOLDER))
    broken = images_that_do_not_open((path, storage.read_bytes(path)) for path in sorted(named & stored))
    return LlavaVerdict(
        missing=sorted(selected - set(found)),
        unexpected=sorted({*found} - selected | {*found.filter(found.is_duplicated())}),
        malformed=sorted(entry["id"] for entry in entries if not _well_formed(entry)),
        unreadable=sorted({*broken} | (named ^ stored)),
    )


def _resized(content: bytes, size: int, recipe: Recipe, image_id: str) -> bytes:
    """The image made smaller, with the original's mark of synthetic content."""
    try:
        small = Image.fromarray(decode_image(content)).resize((size, size), Image.Resampling.BICUBIC)
        provenance = read_provenance(content)
    except ImageError as error:
        raise ImageError(f"image {image_id}: {error}") from error
    return encode_image(small, recipe.generation, provenance, edits=["c2pa.resized"]).content


def _well_formed(entry: dict[str, Any]) -> bool:
    turns = entry["conversations"]
    return (
        [turn["from"] for turn in turns] == ["human", "gpt"]
        and turns[0]["value"].count(PLACEHOLDER) == 1
        and turns[1]["value"].count(PLACEHOLDER) == 0
        and bool(turns[1]["value"])
    )
