"""Nothing is read, written or deleted outside the storage, whatever is given as a name."""

# ruff: noqa: E501 - tables of cases

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.dataset.exports.huggingface import write_huggingface
from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.report.page import write_report
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.recipe import CaptionSource, Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.dataset.conftest import make_project  # noqa: F401 - the fixture
from synthvlm_dagster_tests.hardening.damage import examples

OUTSIDE = (
    "..", "../outside", "a/../../outside", "a/..", "/etc/passwd", "//etc", "/", ".", "./a", "a//b", "a/", "..\\outside", "a\\b",
    "%2e%2e/outside", "..%2foutside", "%252e%252e%252foutside", "a%5cb", "a\0b", "a%00b", "a\nb", "a\x1b[2Jb", "\udc80", "a\x7f",
    "s3://bucket/a", "file:///etc/passwd", "simplecache::a", "a::b", "%3a%3a/a:://b",
)  # fmt: skip


def uses(storage: Storage, path: str):
    frame = pl.DataFrame({"a": [1]})
    yield lambda: storage.write_bytes(path, b"x")
    yield lambda: storage.write_table(path, frame)
    yield lambda: storage.write_chunk("table", path, frame)
    yield lambda: storage.table_writer(path, frame.schema).__enter__()
    yield lambda: storage.replaced_folder(path).__enter__()
    yield lambda: storage.delete(path)
    yield lambda: storage.quarantine(path)
    yield lambda: storage.read_bytes(path)
    yield lambda: storage.open(path)
    yield lambda: storage.exists(path)
    yield lambda: storage.files(path)
    yield lambda: storage.size(path)
    yield lambda: storage.scan(path)
    yield lambda: storage.scan_files([path])
    yield lambda: storage.version(path)
    yield lambda: list(storage.batches(path))
    yield lambda: storage.url(path)


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("remote", [False, True], ids=["disk", "memory"])
def test_names_that_leave_the_storage_are_refused_by_every_method(remote, tmp_path):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "store" / "a").mkdir(parents=True)
    storage = Storage("memory://places/store" if remote else str(tmp_path / "store"))
    before = everything(tmp_path)
    for path in OUTSIDE:
        for use in uses(storage, path):
            with pytest.raises(StorageError, match=r"is no place in the storage .*Correct the name that it comes from"):
                use()
    assert everything(tmp_path) == before


@examples(200)
@given(st.text(st.sampled_from("./\\%2eEfF5cC:~ab\0"), max_size=12))
def test_what_is_accepted_stays_inside(path):
    storage = Storage("/places/store")
    try:
        url = storage.url(path)
    except StorageError:
        return
    assert Path(url).resolve().is_relative_to("/places/store")
    assert "\0" not in url


class TestLinks:
    @pytest.fixture
    def places(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept.txt").write_text("mine")
        storage = Storage(str(tmp_path / "store"))
        storage.write_bytes("inside/a.txt", b"x")
        (tmp_path / "store" / "link").symlink_to(outside)
        (tmp_path / "store" / "file.txt").symlink_to(outside / "kept.txt")
        return storage, outside

    def test_nothing_is_written_or_deleted_through_a_link_that_leads_out(self, places):
        storage, outside = places
        for use in (
            lambda: storage.write_bytes("link/new.txt", b"x"),
            lambda: storage.write_table("link/deeper/table", pl.DataFrame({"a": [1]})),
            lambda: storage.delete("link/kept.txt"),
            lambda: storage.quarantine("link/kept.txt"),
            lambda: storage.replaced_folder("link").__enter__(),
            lambda: storage.replaced_folder("link/new").__enter__(),
        ):
            with pytest.raises(StorageError, match=r"a link leads out of the storage, to .*Remove the link, or mount"):
                use()
        assert everything(outside) == {str(outside / "kept.txt"): b"mine"}

    def test_a_link_itself_is_replaced_or_deleted(self, places):
        storage, outside = places
        storage.write_bytes("file.txt", b"new")
        assert storage.read_bytes("file.txt") == b"new"
        storage.delete("file.txt")
        assert (outside / "kept.txt").read_text() == "mine"

    def test_the_storage_may_be_a_link(self, tmp_path):
        (tmp_path / "disk").mkdir()
        (tmp_path / "store").symlink_to(tmp_path / "disk")
        storage = Storage(str(tmp_path / "store"))
        storage.write_bytes("a/b.txt", b"x")
        with storage.replaced_folder("c") as folder:
            (folder / "d").write_bytes(b"x")
        assert storage.files("") == ["a/b.txt", "c/d"]

    def test_links_inside_the_storage_may_be_followed(self, places):
        storage, _ = places
        Path(storage.url("again")).symlink_to(storage.url("inside"))
        storage.write_bytes("again/b.txt", b"x")
        assert storage.read_bytes("inside/b.txt") == b"x"


@pytest.mark.parametrize("name", ["../../../outside", "/outside", "a/b", "..", "a\\b", "", "a" * 99, "\0", None])
@pytest.mark.parametrize("column", ["image_id", "shard"])
@pytest.mark.parametrize(
    "export", [write_llava, lambda recipe, storage: write_webdataset(recipe, storage), write_report]
)
def test_exports_of_a_table_with_foreign_names_write_nothing(export, column, name, make_project, tmp_path):  # noqa: F811
    project = make_project()
    changed = project.selected.with_columns(
        pl.when(pl.col("rank") == 1).then(pl.lit(name)).otherwise(column).alias(column)
    )
    project.storage.write_table(SELECTED, changed)
    before = everything(tmp_path)
    try:
        export(project.recipe, project.storage)
    except StorageError as error:
        assert column in str(error) or "not in the store" in str(error)
    new = everything(tmp_path).keys() - before.keys()
    assert all(path.startswith(project.storage.url("dataset/report")) for path in new)


def test_the_folder_for_hugging_face_too(make_project):  # noqa: F811
    project = make_project()
    project.storage.write_bytes("dataset/card/card.md", b"# card")
    project.storage.write_table(SELECTED, project.selected.with_columns(image_id=pl.lit("../../../outside")))
    with pytest.raises(StorageError, match=r"image_id '\.\./\.\./\.\./outside' of a pair is no name of this program"):
        write_huggingface(project.recipe, project.storage)


@examples(100)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_every_model_gives_a_plain_name(model):
    recipe = Recipe.model_validate(
        {
            "name": "a",
            "sources": [{"name": "a", "path": "a"}],
            "generation": {"model": "org/" + model.lstrip("/")},
            "selection": {"count": 1},
        }
    )
    name = generator_name(recipe)
    assert Storage("/places").url(f"images/{name}/0000") == f"/places/images/{name}/0000"
    assert len(name) < 120
    assert "/" not in name


def test_images_are_not_looked_for_outside_the_image_root(tmp_path):
    inside = ["a.jpg", "b/../a.jpg", "a..jpg", "...", "b/..a.jpg", "https://images.example/../a.jpg"]
    outside = ["../a.jpg", "b/../../a.jpg", "..", "%2e%2e/a.jpg", "..\\a.jpg", "./../a.jpg", ".%2E/a.jpg"]
    rows = [{"caption": f"A red circle {image!r}.", "image": image} for image in (*inside, *outside)]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    columns = {"text": "caption", "image": "image"}
    settings = {"name": "a", "path": str(tmp_path / "a.parquet"), "columns": columns}
    for root, left in ((str(tmp_path / "root"), len(inside)), (None, len(rows))):
        source = CaptionSource.model_validate(settings | {"image_root": root})
        uris = pl.concat(read_captions([source]))["image_uri"].drop_nulls()
        assert len(uris) == left
