"""Original images that come, go and are replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from synthvlm_dagster.captions.made_from import curation_made_from
from synthvlm_dagster.captions.measures.measurements import MeasurementStore
from synthvlm_dagster.captions.picture_files import MISSING, digest_of_pictures, picture_states
from synthvlm_dagster.captions.readers import RAW_SCHEMA
from synthvlm_dagster.captions.tables import RAW
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage


def test_a_file_is_known_by_size_and_time_and_an_archive_stands_for_what_is_in_it(tmp_path: Path) -> None:
    file, archive = tmp_path / "a b.jpg", tmp_path / "b.tar"
    file.write_bytes(b"picture")
    archive.write_bytes(b"archive")
    uris = pl.Series(
        [
            str(file),
            f"file://{file}",
            f"tar://0.jpg::{archive}",
            f"tar://1.jpg::file://{archive}",
            str(tmp_path / "gone.jpg"),
            "https://images.example/0.jpg",
            "tar://0.jpg::s3://bucket/b.tar",
            "\0",
            None,
        ]
    )
    states = picture_states(uris).to_list()
    here, there, inside, beside, gone, *others = states
    assert here == there == f"7 {file.stat().st_mtime_ns}"
    assert inside == beside == f"7 {archive.stat().st_mtime_ns}"
    assert gone == MISSING
    assert others == ["", "", MISSING, ""]
    before = digest_of_pictures(uris.drop_nulls(), states[:-1])
    assert before == digest_of_pictures(uris.drop_nulls().reverse(), states[-2::-1])
    os.utime(file, ns=(0, 0))
    assert before != digest_of_pictures(uris.drop_nulls(), picture_states(uris.drop_nulls()))


class Looks:
    """A measure that looks at images: the length of the image's file."""

    name = "length"
    identity = "0"
    looks_at_images = True
    extras = pl.Schema()

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        lengths = [Path(uri).stat().st_size if Path(uri).exists() else None for uri in captions["image_uri"]]
        yield captions.select("key", value=pl.Series(lengths, dtype=pl.Float64), problem=pl.lit("is missing"))


def test_an_image_that_is_another_now_is_measured_anew(tmp_path: Path) -> None:
    file = tmp_path / "0.jpg"
    captions = pl.DataFrame({"text": ["a dog", "a cat"], "image_uri": [str(file), str(tmp_path / "1.jpg")]})

    def values() -> list[float | None]:
        return MeasurementStore(Storage(str(tmp_path / "store")), Looks()).values(captions, print).to_list()

    file.write_bytes(b"1234")
    assert values() == [4, None]
    file.write_bytes(b"12345")
    (tmp_path / "1.jpg").write_bytes(b"1")
    assert values() == [5, 1]


@pytest.mark.parametrize("rule", [None, "image_text_similarity", "image_text_matching"])
def test_the_captions_are_made_from_the_images_that_rules_look_at(
    tiny_recipe: Callable[..., Recipe], tmp_path: Path, rule: str | None
) -> None:
    recipe = tiny_recipe(curation={"rules": {rule: {"model": "org/model"}} if rule else {}})
    storage = Storage(recipe.storage)
    uris = [str(tmp_path / "0.jpg"), None]
    empty = {name: pl.lit(None, dtype) for name, dtype in RAW_SCHEMA.items()}
    storage.write_table(RAW, pl.select(pl.Series("image_uri", uris)).with_columns(**empty | {"image_uri": "image_uri"}))
    before = curation_made_from(recipe, storage)
    Path(str(uris[0])).write_bytes(b"picture")
    there = curation_made_from(recipe, storage)
    Path(str(uris[0])).write_bytes(b"another picture")
    replaced = curation_made_from(recipe, storage)
    assert before.differences(there) == (["sources.images (images) has changed"] if rule else [])
    assert there.differences(replaced) == (["sources.images (images) has changed"] if rule else [])
