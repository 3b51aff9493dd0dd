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
from functools import partial
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.dataset.exports.export import Export, OnProgress, Verdict, Written, export_settings, say_nothing
from synthvlm_dagster.markdown import shortened
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.exports import LlavaExport as LlavaSettings

if TYPE_CHECKING:
    from PIL.Image import Image

    from synthvlm_dagster.store.storage import Storage

FOLDER = "dataset/llava"
CONVERSATIONS = f"{FOLDER}/synthvlm.json"
IMAGE_FOLDER = f"{FOLDER}/images"
PLACEHOLDER = "<image>"
_TURN = ("from", "value")
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


def write_llava(recipe: Recipe, storage: Storage, on_progress: OnProgress = say_nothing) -> Written:
    """Write the selected pairs as `synthvlm.json` (best first) and `images/<shard>/<image_id>.<suffix>`.

    Images are the store's own bytes, or resized to a square of `exports.llava.image_size` pixels and encoded in the
    same format. The old export stands until the new one is whole.

    Raises:
        StorageError: an image is missing, or the folder cannot be written.
        DamagedImagesError: an image to be resized cannot be decoded.
    """
    from synthvlm_dagster.dataset.pairs import SELECTED, with_images
    from synthvlm_dagster.images.damage import decoded

    selected = storage.scan(SELECTED).collect()
    size = (recipe.exports.llava or LlavaSettings()).image_size
    ranked: list[tuple[int, dict[str, Any]]] = []
    total_bytes = 0
    with storage.replaced_folder(FOLDER, last=["synthvlm.json"]) as folder:
        (folder / "images").mkdir()
        for batch in with_images(recipe, storage, selected, on_progress):
            for row in batch.iter_rows(named=True):
                name = _image_name(recipe, row)
                content = row["image"]["bytes"]
                if size:
                    with decoded(row["image_id"], row["shard"]):
                        content = _resized(content, size, recipe)
                file = folder / "images" / name
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(content)
                total_bytes += len(content)
                ranked.append((row["rank"], conversation_entry(row["image_id"], name, row["text"], recipe.seed)))
        ranked.sort(key=lambda item: item[0])
        document = "[\n" + ",\n".join(json.dumps(entry) for _, entry in ranked) + "\n]\n"
        total_bytes += (folder / "synthvlm.json").write_bytes(document.encode())
    return Written(len(ranked), total_bytes, sample=ranked[0][1] if ranked else None, columns=COLUMNS)


def verify_llava(recipe: Recipe, storage: Storage, on_progress: OnProgress = say_nothing) -> Verdict:
    """Compare every entry and every image with its selected pair, and with the store's image.

    Raises:
        StorageError: there is no selection, or the store cannot be read.
    """
    from synthvlm_dagster.dataset.exports.pictures import (
        PICTURE,
        ExportedPicture,
        digest_of_file,
        expected_pairs,
        picture_faults,
    )

    size = (recipe.exports.llava or LlavaSettings()).image_size
    digest = _digest_of_pixels if size else digest_of_file
    expected = expected_pairs(recipe, storage, partial(_digest_resized, size, recipe) if size else digest, on_progress)
    pairs = {row["image_id"]: row for row in expected.select("image_id", "shard", "text", PICTURE).to_dicts()}
    entries, malformed = _read_entries(storage)
    stored = set(storage.files(IMAGE_FOLDER))
    unexpected: list[str] = []
    wrong: list[str] = []
    seen: dict[str, str] = {}
    for entry in entries:
        image_id, path = entry["id"], f"{IMAGE_FOLDER}/{entry['image']}"
        if image_id not in pairs or image_id in seen:
            unexpected.append(image_id)
            continue
        seen[image_id] = path
        if not _well_formed(entry):
            malformed.append(image_id)
        else:
            wrong += _wrong_entry(entry, pairs[image_id], recipe)
    pictures = (
        ExportedPicture(path, storage.read_bytes(path), image_id, pairs[image_id]["text"], pairs[image_id][PICTURE])
        for image_id, path in seen.items()
        if path in stored
    )
    faults = list(picture_faults(recipe, pictures, len(seen), digest, on_progress))
    named = {f"{IMAGE_FOLDER}/{entry['image']}" for entry in entries}
    return Verdict(
        missing=sorted(pairs.keys() - seen.keys()),
        unexpected=sorted(set(unexpected)),
        malformed=sorted(malformed),
        unreadable=sorted({fault.place for fault in faults if fault.reason is None} | (named ^ stored)),
        wrong_facts=sorted(wrong),
        wrong_pictures=sorted(f"{fault.place} {fault.reason}" for fault in faults if fault.reason),
    )


def _read_entries(storage: Storage) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries that have the form of one, and what there is beside them."""
    if not storage.exists(CONVERSATIONS):
        return [], []
    try:
        found = json.loads(storage.read_bytes(CONVERSATIONS))
    except ValueError as error:
        return [], [f"{CONVERSATIONS} is no JSON: {error}"]
    if not isinstance(found, list):
        return [], [f"{CONVERSATIONS} is no list"]
    entries = [entry for entry in found if _is_entry(entry)]
    others = len(found) - len(entries)
    return entries, [f"{others} entries of {CONVERSATIONS} without id, image and conversations"] if others else []


def _is_entry(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("conversations"), list):
        return False
    turns = [turn.get(name) if isinstance(turn, dict) else None for turn in found["conversations"] for name in _TURN]
    return all(isinstance(text, str) for text in (found.get("id"), found.get("image"), *turns))


def _wrong_entry(entry: dict[str, Any], pair: dict[str, Any], recipe: Recipe) -> list[str]:
    """What an entry says otherwise than its pair, one sentence for each."""
    image_id = entry["id"]
    right = conversation_entry(image_id, _image_name(recipe, pair), pair["text"], recipe.seed)
    (asked, answered), (question, answer) = ([turn["value"] for turn in one["conversations"]] for one in (entry, right))
    said = {"image": (entry["image"], right["image"]), "prompt": (asked, question), "caption": (answered, answer)}
    place = f"{CONVERSATIONS}, entry {image_id}"
    return [
        f"{place}: the {name} is {shortened(found)!r} in place of {shortened(wanted)!r}"
        for name, (found, wanted) in said.items()
        if found != wanted
    ]


def _image_name(recipe: Recipe, pair: dict[str, Any]) -> str:
    from synthvlm_dagster.images.table import image_suffix

    return f"{pair['shard']}/{pair['image_id']}.{image_suffix(recipe)}"


def _digest_of_pixels(content: bytes) -> bytes:
    from synthvlm_dagster.dataset.exports.pictures import digest_of_file
    from synthvlm_dagster.image_decoding import decode_image

    return digest_of_file(decode_image(content).tobytes())


def _digest_resized(size: int, recipe: Recipe, content: bytes) -> bytes:
    """Of the pixels that the store's image has when it is resized, encoded and read again.

    Not of the file: no two signatures of Content Credentials are equal.
    """
    from synthvlm_dagster.images.table import encode_image

    return _digest_of_pixels(encode_image(_smaller(content, size), recipe.generation).content)


def _resized(content: bytes, size: int, recipe: Recipe) -> bytes:
    """The image made smaller, with the original's mark of synthetic content."""
    from synthvlm_dagster.images.provenance import read_provenance
    from synthvlm_dagster.images.table import encode_image

    small = _smaller(content, size)
    provenance = read_provenance(content)
    return encode_image(small, recipe.generation, provenance, edits=["c2pa.resized"]).content


def _smaller(content: bytes, size: int) -> Image:
    from PIL import Image

    from synthvlm_dagster.image_decoding import decode_image

    return Image.fromarray(decode_image(content)).resize((size, size), Image.Resampling.BICUBIC)


def _well_formed(entry: dict[str, Any]) -> bool:
    turns = entry["conversations"]
    return (
        [turn["from"] for turn in turns] == ["human", "gpt"]
        and turns[0]["value"].count(PLACEHOLDER) == 1
        and turns[1]["value"].count(PLACEHOLDER) == 0
        and bool(turns[1]["value"])
    )


EXPORT = Export(
    name="llava",
    asset="llava_dataset",
    label="dataset for LLaVA",
    description="""The selected pairs as LLaVA trains on them: `synthvlm.json` beside a tree of images.

One entry is one selected pair as a conversation: a prompt with the image, and the caption as the answer.""",
    checked="""LLaVA's JSON has exactly the selected pairs, in the form that its training reads, and each image is its
pair's: it decodes, says so in its mark, and is the store's.""",
    kinds=frozenset({"json"}),
    code=2,
    settings=lambda recipe: {**export_settings(recipe, "llava"), "seed": recipe.seed},
    write=write_llava,
    verify=verify_llava,
)
