"""A changed byte inside a picture: whatever finds it, the run after it has what a fresh run would have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pyarrow.parquet import ParquetFile

from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.errors import DamagedImagesError, StorageError
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.project import Project, work_left


@pytest.fixture
def history(begin_history: Callable[[], History]) -> History:
    history = begin_history()
    history.project.world.set("selection", {"count": 3})
    history.run()
    return history


def of_selected(project: Project) -> list[str]:
    return pl.read_parquet(project.storage / SELECTED / "table.parquet")["image_id"].to_list()


def damage(project: Project, image_ids: list[str] | None, *, but: list[str] | None = None) -> str:
    """Change a byte of the pixels of an image that is one of some, or none of others; returns its id.

    The file keeps its name, and with it the digest of what it held.
    """
    for file in sorted((project.storage / images_table(project.recipe)).rglob("*.parquet")):
        rows = pl.read_parquet(file)
        for image_id, image in rows.select("image_id", "image").iter_rows():
            if (image_ids is None or image_id in image_ids) and image_id not in (but or []):
                content = bytearray(image["bytes"])
                content[content.find(b"IDAT") + 10] ^= 0xFF
                spoilt = pl.lit(image | {"bytes": bytes(content)}, dtype=rows.schema["image"])
                of_image = pl.when(pl.col("image_id") == image_id)
                rows.with_columns(of_image.then(spoilt).otherwise("image").alias("image")).write_parquet(file)
                return str(image_id)
    raise AssertionError("there is no such image")


def quarantined(project: Project) -> list[Path]:
    return list(project.storage.rglob("*.corrupt"))


def test_the_check_of_the_selected_pairs_finds_it(history: History) -> None:
    project = history.project
    damaged = damage(project, of_selected(project))
    exported = {path: path.read_bytes() for path in (project.storage / "dataset/llava").rglob("*.*")}
    project.world.set("selection", {"count": 4})
    ran = project.run()
    assert not ran.succeeded
    assert len(quarantined(project)) == 1
    assert {path: path.read_bytes() for path in (project.storage / "dataset/llava").rglob("*.*")} == exported
    left = work_left(project.recipe, project.instance)
    assert len(left["generated_images"]) == 1
    assert f"its check selected_images_open failed: 1 of 4 images do not open: {damaged}" in left["selected_pairs"]
    assert history.run().succeeded


def test_the_check_of_an_export_finds_it(history: History) -> None:
    project = history.project
    damage(project, of_selected(project))
    project.world.set("exports.webdataset", {"pairs_per_tar": 2})
    assert not project.run().succeeded
    assert len(quarantined(project)) == 1
    left = work_left(project.recipe, project.instance)
    assert "selected_images_open failed" in left["selected_pairs"]
    assert "webdataset_holds_the_selected_pairs failed" in left["webdataset"]
    assert history.run().succeeded


def test_a_resized_export_finds_it(history: History) -> None:
    project = history.project
    damaged = damage(project, of_selected(project))
    project.world.set("exports.llava", {"image_size": 8})
    ran = project.run()
    assert not ran.succeeded
    assert f"image {damaged} of shard " in ran.launched[-1]
    assert "`synthvlm run`, or materializing generated_images[" in ran.launched[-1]
    assert history.run().succeeded


def test_the_report_finds_it(history: History) -> None:
    project = history.project
    damaged = damage(project, None, but=of_selected(project))
    project.world.set("report.gallery_pairs", 40)
    ran = project.run()
    assert not ran.succeeded
    assert f"quality_report: DamagedImagesError: image {damaged} of shard " in ran.launched[-1]
    assert "cannot be decoded" in ran.launched[-1]
    assert len(quarantined(project)) == 1
    assert history.run().succeeded


def test_scoring_finds_it(history: History) -> None:
    project = history.project
    damaged = damage(project, None)
    shutil.rmtree(project.storage / "scores")
    ran = project.run()
    assert not ran.succeeded
    assert f"image {damaged} cannot be decoded" in ran.launched[-1]
    assert len(quarantined(project)) == 1
    assert history.run().succeeded


def test_a_file_that_cannot_be_unpacked_is_found(history: History) -> None:
    project = history.project
    [file, *_] = sorted((project.storage / images_table(project.recipe)).rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    group = ParquetFile(file).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    column = next(column for column in columns if column.path_in_schema == "image.bytes")
    # The header of the first page of the pictures.
    content[column.data_page_offset : column.data_page_offset + 8] = b"\xff" * 8
    file.write_bytes(content)
    shutil.rmtree(project.storage / "scores")
    ran = project.run()
    assert not ran.succeeded
    assert "a file of its images is damaged" in ran.launched[-1]
    assert len(quarantined(project)) == 1
    assert history.run().succeeded


def test_the_error_is_one_of_an_image_and_of_the_store() -> None:
    error = DamagedImagesError("image 12-00 of shard 0001: cannot be decoded", "0001", "12-00")
    assert isinstance(error, StorageError)
    assert "generated_images[0001]" in str(error)
