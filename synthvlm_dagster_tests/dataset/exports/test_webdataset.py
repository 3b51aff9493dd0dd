"""The WebDataset export, read back with the webdataset package."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from synthvlm_dagster.dataset.exports.webdataset import FOLDER, verify_webdataset, write_webdataset
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.images.provenance import read_provenance
from synthvlm_dagster_tests.dataset.conftest import Project

MakeProject = Callable[..., Project]


def tar_files(project: Project) -> list[str]:
    return [project.storage.url(path) for path in project.storage.files(FOLDER, ".tar")]


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_webdataset_package_reads_every_pair(make_project: MakeProject, image_format: str) -> None:
    import webdataset

    project = make_project(
        generation={"model": "maker/model", "image_format": image_format}, exports={"webdataset": {"pairs_per_tar": 2}}
    )
    export = write_webdataset(project.recipe, project.storage)
    samples = list(webdataset.WebDataset(tar_files(project), shardshuffle=False).decode("pil"))
    suffix = "jpg" if image_format == "jpeg" else image_format
    selected = {row["image_id"]: row for row in project.selected.to_dicts()}
    assert len(samples) == len(selected) == export.pairs
    assert {sample["__key__"] for sample in samples} == set(selected)
    for sample in samples:
        row = selected[sample["__key__"]]
        assert sample["txt"] == row["text"]
        assert {name: sample["json"][name] for name in row} == row
        assert sample["json"]["model"] == "maker/model"
        assert isinstance(sample["json"]["seed"], int)
        assert sample[suffix].size == (64, 64)
    for sample in webdataset.WebDataset(tar_files(project), shardshuffle=False):
        original = project.picture(sample["__key__"])
        assert read_provenance(sample[suffix]) == read_provenance(original) is not None


def test_tars_are_numbered_and_hold_so_many_pairs(make_project: MakeProject) -> None:
    project = make_project(selection={"count": 5}, exports={"webdataset": {"pairs_per_tar": 2}})
    export = write_webdataset(project.recipe, project.storage)
    assert [Path(file).name for file in tar_files(project)] == ["00000.tar", "00001.tar", "00002.tar"]
    assert (export.pairs, export.counts["tar_files"]) == (5, 3)
    assert export.bytes == sum(Path(file).stat().st_size for file in tar_files(project))
    assert export.sample is not None
    assert export.sample["image_id"] in set(project.selected["image_id"])


def test_equal_pairs_give_equal_bytes(make_project: MakeProject) -> None:
    project = make_project()
    write_webdataset(project.recipe, project.storage)
    before = [Path(file).read_bytes() for file in tar_files(project)]
    write_webdataset(project.recipe, project.storage)
    assert [Path(file).read_bytes() for file in tar_files(project)] == before


def test_fewer_tars_leave_none_of_the_old(make_project: MakeProject) -> None:
    project = make_project(exports={"webdataset": {"pairs_per_tar": 1}})
    write_webdataset(project.recipe, project.storage)
    project.storage.write_table(SELECTED, project.selected.head(2))
    assert write_webdataset(project.recipe, project.storage).counts["tar_files"] == len(tar_files(project)) == 2
    assert verify_webdataset(project.recipe, project.storage).passed


def test_an_empty_selection_gives_no_tar(make_project: MakeProject) -> None:
    project = make_project()
    project.storage.write_table(SELECTED, project.selected.clear())
    export = write_webdataset(project.recipe, project.storage)
    assert (export.pairs, export.counts["tar_files"], export.bytes, export.sample) == (0, 0, 0, None)


def test_verification_names_what_differs(make_project: MakeProject) -> None:
    project = make_project()
    write_webdataset(project.recipe, project.storage)
    assert verify_webdataset(project.recipe, project.storage).passed
    selected = project.selected
    other = selected.head(1).with_columns(image_id=selected["image_id"].head(1).str.replace("-0.$", "-77"))
    project.storage.write_table(SELECTED, selected.tail(-1).vstack(other))
    verdict = verify_webdataset(project.recipe, project.storage)
    assert verdict.missing == sorted(f"{other['image_id'][0]}.{part}" for part in ("png", "txt", "json"))
    assert verdict.unexpected == sorted(f"{selected['image_id'][0]}.{part}" for part in ("png", "txt", "json"))


def test_an_image_that_does_not_decode_is_named(make_project: MakeProject) -> None:
    project = make_project()
    write_webdataset(project.recipe, project.storage)
    path = project.storage.files(FOLDER, ".tar")[0]
    content = bytearray(project.storage.read_bytes(path))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        member = next(member for member in tar if member.name.endswith(".png"))
    content[member.offset_data : member.offset_data + member.size] = bytes(member.size)
    project.storage.write_bytes(path, bytes(content))
    assert verify_webdataset(project.recipe, project.storage).unreadable == [f"{path}/{member.name}"]


def test_a_tar_cut_short_is_named(make_project: MakeProject) -> None:
    project = make_project()
    write_webdataset(project.recipe, project.storage)
    path = project.storage.files(FOLDER, ".tar")[0]
    project.storage.write_bytes(path, project.storage.read_bytes(path)[:600])
    [cut] = verify_webdataset(project.recipe, project.storage).unreadable
    assert cut.startswith(f"{path} (not a whole tar file")


def test_a_remote_store_is_read_back(make_project: MakeProject) -> None:
    import webdataset

    project = make_project(url="memory://webdataset-export")
    write_webdataset(project.recipe, project.storage)
    assert verify_webdataset(project.recipe, project.storage).passed
    content = project.storage.read_bytes(f"{FOLDER}/00000.tar")
    samples = list(webdataset.tariterators.tar_file_expander([{"url": "x", "stream": io.BytesIO(content)}]))
    with Image.open(io.BytesIO(next(part["data"] for part in samples if part["fname"].endswith(".png")))) as image:
        assert image.size == (64, 64)
