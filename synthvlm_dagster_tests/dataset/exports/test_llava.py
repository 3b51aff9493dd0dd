"""The LLaVA export, read as LLaVA's train.py reads it."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthvlm_dagster.dataset.exports.llava import (
    CONVERSATIONS,
    IMAGE_FOLDER,
    PROMPTS,
    conversation_entry,
    verify_llava,
    write_llava,
)
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.provenance import read_provenance
from synthvlm_dagster.recipe.exports import LlavaExport
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.dataset.conftest import HOSTILE_CAPTION, Project, good_captions
from synthvlm_dagster_tests.dataset.exports.consumers import read_as_llava

MakeProject = Callable[..., Project]


def read_entries(storage: Storage) -> list[dict]:
    return json.loads(storage.read_bytes(CONVERSATIONS))


def test_entries_are_the_selected_pairs_best_first(make_project: MakeProject) -> None:
    project = make_project()
    export = write_llava(project.recipe, project.storage)
    entries = read_entries(project.storage)
    assert [entry["id"] for entry in entries] == project.selected.sort("rank")["image_id"].to_list()
    assert export.pairs == len(entries) == project.selected.height > 0
    assert export.sample == entries[0]
    files = project.storage.files("dataset/llava")
    assert export.bytes == sum(project.storage.size(file) for file in files)
    assert verify_llava(project.recipe, project.storage).passed


def test_training_code_gets_prompt_caption_and_image(make_project: MakeProject) -> None:
    captions = [
        HOSTILE_CAPTION,
        "eine große Fläche, 大きな円\nin two lines",
        "NUL \0, a tag </s> and a <s>circle</s> on grey",
    ]
    project = make_project(
        [*good_captions(4), *captions],
        selection={"share": 1},
        curation={"rules": dict.fromkeys(("special_char_ratio", "alnum_ratio", "char_rep_ratio", "word_rep_ratio"))},
    )
    write_llava(project.recipe, project.storage)
    examples = read_as_llava(Path(project.storage.url(CONVERSATIONS)), Path(project.storage.url(IMAGE_FOLDER)))
    texts = dict(project.selected.select("image_id", "text").iter_rows())
    assert [example.identity for example in examples] == project.selected.sort("rank")["image_id"].to_list()
    assert len(examples) == 7
    for example in examples:
        caption = texts[example.identity]
        for taken_out in ("<image>", "<s>", "</s>"):
            caption = caption.replace(taken_out, " ")
        assert example.prompt.removeprefix("<image>\n") in PROMPTS
        assert example.pretraining_text == f"<image>{caption.strip()}\n"
        assert example.image.size == (64, 64)


def test_a_caption_of_nothing_but_the_placeholder_is_named(make_project: MakeProject) -> None:
    project = make_project()
    empty = pl.when(pl.col("rank") == 1).then(pl.lit("<image>")).otherwise("text").alias("text")
    project.storage.write_table(SELECTED, project.selected.with_columns(empty))
    write_llava(project.recipe, project.storage)
    assert (
        verify_llava(project.recipe, project.storage).malformed
        == project.selected.filter(pl.col("rank") == 1)["image_id"].to_list()
    )


def test_an_empty_selection_is_an_empty_list(make_project: MakeProject) -> None:
    project = make_project()
    project.storage.write_table(SELECTED, project.selected.clear())
    export = write_llava(project.recipe, project.storage)
    assert (export.pairs, export.sample, read_entries(project.storage)) == (0, None, [])
    assert verify_llava(project.recipe, project.storage).passed


def test_a_truncated_image_is_an_error_where_it_is_resized_and_found_where_it_is_copied(
    make_project: MakeProject,
) -> None:
    project = make_project()
    [path, *_] = project.storage.files(images_table(project.recipe, project.selected["shard"][0]))
    rows = project.storage.scan_files([path]).collect()
    cut = [image | {"bytes": image["bytes"][:-40]} for image in rows["image"]]
    broken = rows.with_columns(pl.Series("image", cut, dtype=rows.schema["image"]))
    project.storage.write_chunk(*path.rsplit("/", 1), broken)
    damaged = set(rows["image_id"]) & set(project.selected["image_id"])
    write_llava(project.recipe, project.storage)
    assert {Path(path).stem for path in verify_llava(project.recipe, project.storage).unreadable} == damaged
    exports = project.recipe.exports.model_copy(update={"llava": LlavaExport(image_size=24)})
    with pytest.raises(ImageError, match=r"image \w+-\d+ of shard \d+: cannot be decoded"):
        write_llava(project.recipe.model_copy(update={"exports": exports}), project.storage)


def test_images_are_the_stored_bytes_below_the_image_folder(make_project: MakeProject) -> None:
    project = make_project()
    write_llava(project.recipe, project.storage)
    for entry in read_entries(project.storage):
        assert Path(entry["image"]).stem == entry["id"]
        assert project.storage.read_bytes(f"{IMAGE_FOLDER}/{entry['image']}") == project.picture(entry["id"])


@pytest.mark.parametrize(("image_format", "suffix"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
def test_images_can_be_resized(make_project: MakeProject, image_format: str, suffix: str) -> None:
    project = make_project(
        generation={"model": "maker/model", "image_format": image_format}, exports={"llava": {"image_size": 24}}
    )
    write_llava(project.recipe, project.storage)
    entries = read_entries(project.storage)
    assert {Path(entry["image"]).suffix for entry in entries} == {suffix}
    for entry in entries:
        with Image.open(Path(project.storage.url(IMAGE_FOLDER)) / entry["image"]) as image:
            assert (image.size, image.format) == ((24, 24), image_format.upper())
        content = project.storage.read_bytes(f"{IMAGE_FOLDER}/{entry['image']}")
        assert read_provenance(content) == read_provenance(project.picture(entry["id"])) is not None
    assert verify_llava(project.recipe, project.storage).passed


def test_a_caption_with_the_placeholder_keeps_one_image(make_project: MakeProject) -> None:
    project = make_project([HOSTILE_CAPTION, "a small red circle, on a plain white background"], selection={"count": 2})
    write_llava(project.recipe, project.storage)
    turns = [turn["value"] for entry in read_entries(project.storage) for turn in entry["conversations"]]
    assert sum(turn.count("<image>") for turn in turns) == 2
    assert any("<script>" in turn for turn in turns)


@given(
    image_id=st.text("0123456789abcdef-", min_size=1),
    caption=st.text() | st.lists(st.sampled_from(["<image>", "<im", "age>", "</s>", "<", "s>", " ", "x"])).map("".join),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_placeholder_stands_once_in_the_first_human_turn(image_id: str, caption: str, seed: int) -> None:
    entry = conversation_entry(image_id, "0000/x.png", caption, seed)
    human, gpt = entry["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].count("<image>") == 1
    assert human["value"].startswith("<image>\n") or human["value"].endswith("\n<image>")
    assert not any(taken_out in gpt["value"] for taken_out in ("<image>", "<s>", "</s>"))
    assert entry == conversation_entry(image_id, "0000/x.png", caption, seed)


def test_prompts_and_places_vary_with_the_image() -> None:
    values = [conversation_entry(f"{n:016x}-00", "x.png", "x", 0)["conversations"][0]["value"] for n in range(400)]
    assert len(set(values)) == 16


def test_verification_names_what_differs(make_project: MakeProject) -> None:
    project = make_project()
    write_llava(project.recipe, project.storage)
    first, second, *_ = entries = read_entries(project.storage)
    broken, lost = (f"{IMAGE_FOLDER}/{entry['image']}" for entry in (first, second))
    project.storage.write_bytes(broken, project.storage.read_bytes(broken)[:-30])
    project.storage.delete(lost)
    project.storage.write_table(SELECTED, project.selected.filter(pl.col("rank") != 3))
    entries[3]["conversations"][0]["value"] = "no place for a picture"
    project.storage.write_bytes(CONVERSATIONS, json.dumps([*entries, entries[4]]).encode())
    verdict = verify_llava(project.recipe, project.storage)
    assert verdict.unreadable == sorted([broken, lost])
    assert verdict.unexpected == sorted([entries[2]["id"], entries[4]["id"]])
    assert verdict.malformed == [entries[3]["id"]]
    assert verdict.missing == []
    assert not verdict.passed


def test_a_remote_store_gets_the_same_export(make_project: MakeProject) -> None:
    local = make_project()
    remote = make_project(url="memory://llava-export")
    write_llava(local.recipe, local.storage)
    write_llava(remote.recipe, remote.storage)
    assert remote.storage.read_bytes(CONVERSATIONS) == local.storage.read_bytes(CONVERSATIONS)
    assert verify_llava(remote.recipe, remote.storage).passed
