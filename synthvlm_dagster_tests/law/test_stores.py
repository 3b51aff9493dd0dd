"""What two stores differ in: nothing escapes the comparison that the law's test rests on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster_tests.law.project import Project
from synthvlm_dagster_tests.law.stores import Contents, contents, differences


@pytest.fixture(scope="module")
def finished(instant_models, tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("finished"))
    project.world.set("scoring.judges", {"siglip": {"model": "@/models/siglip", "pretrained": None}})
    project.world.set(
        "comparisons",
        [
            {
                "name": "other",
                "path": "@/comparison/pairs.jsonl",
                "format": "jsonl",
                "columns": {"image": "image"},
                "image_root": "@/comparison/images",
            }
        ],
    )
    assert project.run().succeeded
    return project


@pytest.fixture(scope="module")
def expected(finished) -> Contents:
    return contents(finished.recipe)


@pytest.fixture
def copied(finished, tmp_path) -> tuple[Path, Recipe]:
    shutil.copytree(finished.storage, tmp_path / "copy")
    return tmp_path / "copy", finished.world.validated(tmp_path / "copy")


def test_a_store_and_its_copy_do_not_differ(copied, expected):
    assert differences(expected, contents(copied[1])) == []


def _first(store: Path, pattern: str) -> Path:
    return min(store.glob(pattern))


def _rewrite(pattern: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    def spoil(store: Path) -> None:
        file = _first(store, pattern)
        change(pl.read_parquet(file)).write_parquet(file)

    return spoil


def _edit(pattern: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(store: Path) -> None:
        file = _first(store, pattern)
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new, 1))

    return spoil


def _swap_pictures(store: Path) -> None:
    first, second = sorted(store.glob("dataset/llava/images/*/*.png"))[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a row of the raw captions is gone": (_rewrite("captions/raw/*", lambda rows: rows[1:]), "captions/raw"),
    "a statistic is another": (
        _rewrite("captions/curated/*", lambda rows: rows.with_columns(pl.col("num_words") + 1)),
        "captions/curated",
    ),
    "two rows have changed places": (_rewrite("dataset/selected/*", lambda rows: rows.reverse()), "dataset/selected"),
    "a column is gone": (_rewrite("dataset/set_aside/*", lambda rows: rows.drop("reason")), "dataset/set_aside"),
    "a planned image is gone": (_rewrite("plans/attempts/**/*.parquet", lambda rows: rows[1:]), "plan"),
    "an image is gone": (_rewrite("images/*/*/*", lambda rows: rows[1:]), "images"),
    "an image has another seed": (
        _rewrite("images/*/*/*", lambda rows: rows.with_columns(pl.col("seed") + 1)),
        "images",
    ),
    "a score is another": (
        _rewrite("scores/*/clip-*/*/*", lambda rows: rows.with_columns(pl.col("ssim") / 2)),
        "scores",
    ),
    "a judge's value is gone": (_rewrite("scores/*/siglip-*/*/*", lambda rows: rows[1:]), "scores"),
    "an embedding is another": (
        _rewrite("embeddings/*/*/*/*", lambda rows: rows.with_columns(pl.col("embedding").reverse())),
        "embeddings of shard",
    ),
    "a comparison has another mean": (
        _rewrite("dataset/references/*", lambda rows: rows.with_columns(pl.col("ssim") + 0.001)),
        "dataset/references",
    ),
    "two pictures of an export have changed places": (_swap_pictures, "dataset/llava/images"),
    "a caption of an export is another": (
        _edit("dataset/llava/synthvlm.json", b"crimson", b"scarlet"),
        "dataset/llava/",
    ),
    "an export has another score": (
        _rewrite("dataset/huggingface/data/*", lambda rows: rows.with_columns(pl.col("clip_score") / 2)),
        "dataset/huggingface/data",
    ),
    "a sample of a tar is another": (_edit("dataset/webdataset/*.tar", b"clip_score", b"clap_score"), "webdataset"),
    "Croissant tells another size": (
        _edit("dataset/huggingface/croissant.json", b"5 synthetic", b"6 synthetic"),
        "croissant",
    ),
    "the card tells another mean": (
        _edit("dataset/card/card.md", b"| CLIPScore | 0", b"| CLIPScore | 1"),
        "dataset/card",
    ),
    "the report shows another mean": (_edit("dataset/report/*.html", b"mean CLIPScore", b"mean Score"), "report"),
    "a file is gone": (lambda store: _first(store, "dataset/llava/images/*/*").unlink(), "is missing"),
    "a file is too much": (lambda store: (store / "dataset/llava/more.png").touch(), "is too much"),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_difference_is_found_and_named(spoiled, copied, expected):
    store, recipe = copied
    spoil, named = SPOILED[spoiled]
    spoil(store)
    found = differences(expected, contents(recipe))
    assert any(named in line for line in found), found
