"""The exports as training code reads them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image


class Example(NamedTuple):
    """One example as LLaVA's training sees it."""

    identity: str
    prompt: str
    """After `<image>` has been moved to the front."""
    pretraining_text: str
    """What the plain template of pretraining learns from."""
    turns: list[tuple[str, str]]
    image: Image.Image


def read_as_llava(data_path: Path, image_folder: Path) -> list[Example]:
    """What LLaVA's train.py (class LazySupervisedDataset, functions preprocess_multimodal, preprocess_plain and
    preprocess_v1) does with each entry before it is tokenized, with the same assertions.
    """
    with data_path.open(encoding="ascii") as file:  # the strictest of the encodings that a locale can name
        entries: list[dict[str, Any]] = json.load(file)
    return [_example(entry, image_folder) for entry in entries]


def _example(entry: dict[str, Any], image_folder: Path) -> Example:
    with Image.open(image_folder / entry["image"]) as file:
        image = file.convert("RGB")
    turns = []
    for number, turn in enumerate(entry["conversations"]):
        assert turn["from"] == ("human", "gpt")[number % 2]
        value = turn["value"]
        if "<image>" in value:
            value = f"<image>\n{value.replace('<image>', '').strip()}".strip()
        turns.append((turn["from"], value))
    assert len(turns) == 2
    assert "<image>" in turns[0][1]
    # The image features take the place of each placeholder: there is one image.
    assert sum(value.count("<image>") for _, value in turns) == 1
    # preprocess_v1 finds the answer by these separators, and learns nothing where it finds more of them.
    conversation = f"USER: {turns[0][1]} ASSISTANT: {turns[1][1]}</s>"
    rounds = [part for part in conversation.split("</s>") if part]
    assert len(rounds) == 1
    return Example(entry["id"], turns[0][1], f"<image>{turns[1][1]}\n", turns, image)
