"""Exports that were changed behind the program's back: whatever was done, their check says so, and says where."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthvlm_dagster.attempts.state import read_images
from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.exports.export import Export, Verdict, say_nothing
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.dataset.exports.pictures import ExportedPicture, digest_of_file, picture_faults
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.provenance import Provenance, read_provenance
from synthvlm_dagster.images.table import encode_image
from synthvlm_dagster.recipe import ContentCredentials
from synthvlm_dagster_tests.dataset.conftest import Project, good_captions
from synthvlm_dagster_tests.images.test_content_credentials import credentials

__all__ = ["credentials"]

MakeProject = Callable[..., Project]

EXPORTS = {export.name: export for export in all_exports()}
Pair = dict[str, Any]
"""caption, picture, clip_score of an exported pair; LLaVA has no scores."""


def written(project: Project, name: str) -> Export:
    write_card(project.recipe, project.storage)
    EXPORTS[name].write(project.recipe, project.storage, say_nothing)
    assert verdict_of(project, name).passed
    return EXPORTS[name]


def verdict_of(project: Project, name: str) -> Verdict:
    return EXPORTS[name].verify(project.recipe, project.storage, say_nothing)


def change(project: Project, name: str, changed: Callable[[dict[str, Pair]], None]) -> None:
    """Let a function change the pairs of an export, by image_id, in its files."""
    {"llava": _change_llava, "webdataset": _change_webdataset, "huggingface": _change_huggingface}[name](
        project, changed
    )


def _change_llava(project: Project, changed: Callable[[dict[str, Pair]], None]) -> None:
    folder = Path(project.storage.url("dataset/llava"))
    entries = json.loads((folder / "synthvlm.json").read_text())
    files = {entry["id"]: folder / "images" / entry["image"] for entry in entries}
    pairs = {
        entry["id"]: {"caption": entry["conversations"][1]["value"], "picture": files[entry["id"]].read_bytes()}
        for entry in entries
    }
    changed(pairs)
    for entry in entries:
        entry["conversations"][1]["value"] = pairs[entry["id"]]["caption"]
        files[entry["id"]].write_bytes(pairs[entry["id"]]["picture"])
    (folder / "synthvlm.json").write_text(json.dumps(entries))


def _change_webdataset(project: Project, changed: Callable[[dict[str, Pair]], None]) -> None:
    [path] = project.storage.files("dataset/webdataset", ".tar")
    with tarfile.open(project.storage.url(path)) as tar:
        parts = {member.name: tar.extractfile(member).read() for member in tar}
    facts = {name[:-5]: json.loads(content) for name, content in parts.items() if name.endswith(".json")}
    pairs = {
        key: {"caption": row["text"], "picture": parts[f"{key}.png"], "clip_score": row["clip_score"]}
        for key, row in facts.items()
    }
    changed(pairs)
    with tarfile.open(project.storage.url(path), "w") as tar:
        for key, pair in pairs.items():
            row = facts[key] | {"text": pair["caption"], "clip_score": pair["clip_score"]}
            for part, content in {
                "png": pair["picture"],
                "txt": pair["caption"].encode(),
                "json": json.dumps(row).encode(),
            }.items():
                member = tarfile.TarInfo(f"{key}.{part}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _change_huggingface(project: Project, changed: Callable[[dict[str, Pair]], None]) -> None:
    [path] = project.storage.files("dataset/huggingface", ".parquet")
    table = pq.read_table(project.storage.url(path))
    rows = table.to_pylist()
    names = ("caption", "clip_score")
    pairs = {row["image_id"]: {**{name: row[name] for name in names}, "picture": row["image"]["bytes"]} for row in rows}
    changed(pairs)
    for row in rows:
        pair = pairs[row["image_id"]]
        row |= {name: pair[name] for name in names}
        row["image"] = row["image"] | {"bytes": pair["picture"]}
    pq.write_table(table.from_pylist(rows, schema=table.schema), project.storage.url(path))


@pytest.fixture(params=EXPORTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_two_pictures_that_changed_places_are_found(make_project: MakeProject, name: str) -> None:
    project = make_project()
    written(project, name)
    one, other = sorted(project.selected["image_id"])[:2]

    def swap(pairs: dict[str, Pair]) -> None:
        pairs[one]["picture"], pairs[other]["picture"] = pairs[other]["picture"], pairs[one]["picture"]

    change(project, name, swap)
    found = verdict_of(project, name)
    assert not found.passed
    assert len(found.wrong_pictures) == 2
    for fault, (place, shows) in zip(found.wrong_pictures, [(one, other), (other, one)], strict=True):
        assert fault.startswith(f"dataset/{name}/")
        assert fault.endswith(f"says that it is image {shows}, not {place}")
    assert not found.wrong_facts
    assert "2 wrong pictures: dataset/" in found.in_words


def test_another_caption_is_found(make_project: MakeProject, name: str) -> None:
    project = make_project()
    written(project, name)
    image_id = project.selected["image_id"][0]
    change(project, name, lambda pairs: pairs[image_id].update(caption="a cat"))
    found = verdict_of(project, name)
    assert not found.wrong_pictures
    assert found.wrong_facts
    assert all(fault.startswith(f"dataset/{name}/") and image_id in fault for fault in found.wrong_facts)
    assert all("a cat" in fault and "in place of" in fault for fault in found.wrong_facts)


@pytest.mark.parametrize("name", ["webdataset", "huggingface"])
def test_another_score_is_found(make_project: MakeProject, name: str) -> None:
    project = make_project()
    written(project, name)
    row = project.selected.row(0, named=True)
    score = row["clip_score"] + 1e-12
    change(project, name, lambda pairs: pairs[row["image_id"]].update(clip_score=score))
    [fault] = verdict_of(project, name).wrong_facts
    assert row["image_id"] in fault
    assert fault.endswith(f"clip_score is {score} in place of {row['clip_score']}")


def test_a_picture_that_was_saved_again_is_found(make_project: MakeProject, name: str) -> None:
    project = make_project()
    written(project, name)
    image_id = project.selected["image_id"][0]

    def save_again(pairs: dict[str, Pair]) -> None:
        stream = io.BytesIO()
        with Image.open(io.BytesIO(pairs[image_id]["picture"])) as image:
            image.save(stream, "png")
        pairs[image_id]["picture"] = stream.getvalue()

    change(project, name, save_again)
    [fault] = verdict_of(project, name).wrong_pictures
    assert image_id in fault
    assert fault.endswith("carries no mark of where it comes from")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"generator": "another-0123456789"}, "says that another-0123456789 made it, not "),
        ({"prompt_sha256": "0" * 64}, "says that it was made from another caption"),
        ({}, "is not the picture that the store has of this image"),
    ],
)
def test_another_picture_is_found_whatever_its_mark_says(
    make_project: MakeProject, name: str, changed: dict[str, str], reason: str
) -> None:
    project = make_project()
    written(project, name)
    image_id = project.selected["image_id"][0]

    def paint(pairs: dict[str, Pair]) -> None:
        mark = read_provenance(pairs[image_id]["picture"])
        assert mark is not None
        other = Image.new("RGB", (64, 64), "white")
        pairs[image_id]["picture"] = encode_image(other, project.recipe.generation, replace(mark, **changed)).content

    change(project, name, paint)
    [fault] = verdict_of(project, name).wrong_pictures
    assert image_id in fault
    assert reason in fault


def test_an_export_of_another_generators_selection_is_found(make_project: MakeProject, name: str) -> None:
    project = make_project(selection={"share": 1})
    written(project, name)
    generation = project.recipe.generation.model_copy(update={"num_inference_steps": 2})
    other = replace(project, recipe=project.recipe.model_copy(update={"generation": generation}))
    found = verdict_of(other, name)
    assert len(found.wrong_pictures) == other.selected.height
    assert all(generator_name(project.recipe) in fault for fault in found.wrong_pictures)


def test_a_file_that_was_deleted_or_emptied_fails_the_check(make_project: MakeProject, name: str) -> None:
    project = make_project()
    export = written(project, name)
    files = [path for path in project.storage.files(export.folder) if not path.endswith((".md", "croissant.json"))]
    for damage in (lambda path: project.storage.write_bytes(path, b""), project.storage.delete):
        damage(files[-1])
        found = verdict_of(project, name)
        assert not found.passed
        assert files[-1] in found.in_words or len(found.missing) >= project.selected.height


@pytest.mark.parametrize(("name", "size"), [*((name, None) for name in EXPORTS), ("llava", 24)])
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_signed_pictures_pass(
    make_project: MakeProject, credentials: ContentCredentials, image_format: str, size: int | None, name: str
) -> None:
    project = make_project(
        good_captions(4),
        generation={
            "model": "maker/model",
            "image_format": image_format,
            "content_credentials": credentials.model_dump(),
        },
        exports={"llava": {"image_size": size}},
    )
    written(project, name)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_resized_picture_with_other_pixels_is_found(make_project: MakeProject, image_format: str) -> None:
    project = make_project(
        generation={"model": "maker/model", "image_format": image_format}, exports={"llava": {"image_size": 24}}
    )
    written(project, "llava")
    row = project.selected.row(0, named=True)

    def repaint(pairs: dict[str, Pair]) -> None:
        mark = read_provenance(pairs[row["image_id"]]["picture"])
        other = Image.new("RGB", (24, 24), "white")
        pairs[row["image_id"]]["picture"] = encode_image(other, project.recipe.generation, mark).content

    change(project, "llava", repaint)
    [fault] = verdict_of(project, "llava").wrong_pictures
    assert fault.endswith("is not the picture that the store has of this image")


def test_a_mark_that_is_wrong_in_the_store_too_is_told_so(make_project: MakeProject) -> None:
    project = make_project()
    content = encode_image(Image.new("RGB", (8, 8)), project.recipe.generation).content
    picture = ExportedPicture("here", content, "x-00", "text", digest_of_file(content))
    [fault] = picture_faults(project.recipe, [picture], 1)
    assert fault.reason == "carries no mark of where it comes from, and so does the store's own file"


def test_all_of_many_pictures_are_looked_at(make_project: MakeProject) -> None:
    project = make_project()
    generator = generator_name(project.recipe)
    mark = Provenance("x", generator, "m", None, "0" * 64, 0)
    content = encode_image(Image.new("RGB", (8, 8)), project.recipe.generation, mark).content
    pictures = (ExportedPicture(str(number), content, "x", "text", None) for number in range(300))
    assert [fault.place for fault in picture_faults(project.recipe, pictures, 300)] == [str(n) for n in range(300)]


def test_an_image_that_left_the_store_is_told_as_such(make_project: MakeProject, name: str) -> None:
    project = make_project()
    written(project, name)
    row = project.selected.row(0, named=True)
    images = read_images(project.recipe, project.storage, row["shard"]).collect()
    for path in project.storage.files(f"images/{generator_name(project.recipe)}/{row['shard']}"):
        project.storage.delete(path)
    gone = images.join(project.selected, on="image_id", how="semi").height
    found = verdict_of(project, name)
    assert len(found.wrong_pictures) == gone > 0
    assert all("materialize generated_images again" in fault for fault in found.wrong_pictures)
